"""Random programs with independent examples, for whatever follows parameters through a program.

A program is a chain of stages ``(p, h) -> (p, h)``: ``p`` is the list of all parameters, which a
stage may change for those that follow, ``h`` the data, ``(n, *shape)``. A stage is a layer, or
other stages inside a loop, a branch, a wrapper or another order of the examples. What a layer takes
as a weight is a function of ``p`` too: a parameter, part of one, or one that is changed first.

Numbers are generic, so that no ``floor``, ``sort`` or ``maximum`` is at a tie, where a rounding
error would decide.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

EXAMPLES = 4
MOST_PARAMETERS = 160
MOST_FEATURES = 16


class Program(NamedTuple):
    """A function, where it is looked at, and of what it is made."""

    apply_fn: Callable[[Any, jax.Array], jax.Array]
    params: Any
    x: jax.Array
    description: str
    tolerance: float = 1e-9
    """How closely two ways of adding up can agree, relative to the largest entry."""


def random_program(seed: int) -> Program:
    """Returns one program; the same for the same seed."""
    d = Draft(np.random.default_rng(seed))
    x, encode, shape = _inputs(d)
    stages = []
    for _ in range(d.rng.integers(1, 4)):
        run, shape = stage(d, shape, depth=int(d.rng.integers(0, 4)))
        stages.append(run)
    last, shape = _readout(d, shape)
    if not any(_is_float(leaf) for leaf in d.leaves):
        run, shape = _no_change_of_p(d, *_finished(d, _bias(d, shape), shape))
        stages.append(run)
    places, params = _tree(d)

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        p = _collect(places, params)
        h = encode(p, x)
        for run in stages:
            p, h = run(p, h)
        return last(h)

    description = f"{seed}: " + " | ".join(d.notes)
    return Program(apply_fn, params, x, description, 1e-5 if NARROW in d.notes else 1e-9)


def jacobian_kernel(program: Program) -> np.ndarray:
    """Returns the trace kernel from the whole Jacobian over the leaves that have derivatives."""
    apply_fn, params, x, *_ = program
    leaves, tree = jax.tree.flatten(params)
    places = [at for at, leaf in enumerate(leaves) if _is_float(leaf) and np.size(leaf)]

    def of_floats(floats: Sequence[jax.Array], leaves: Sequence[Any], x: jax.Array) -> jax.Array:
        every = list(leaves)
        for at, leaf in zip(places, floats, strict=True):
            every[at] = leaf
        return apply_fn(jax.tree.unflatten(tree, every), x)

    jac = jax.jit(jax.jacrev(of_floats))([jnp.asarray(leaves[at]) for at in places], leaves, x)
    kernel = np.zeros((len(x), len(x)))
    for at, rows in zip(places, jac, strict=True):
        rows = np.asarray(rows, np.float64).reshape(len(x), -1, np.size(leaves[at]))
        kernel += np.einsum("icp,jcp->ij", rows, rows)
    return kernel


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


class Draft:
    """What is drawn so far."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.leaves: list[Any] = []
        self.notes: list[str] = []
        self.again = 0.25
        """How likely a weight is one that was used before."""
        self.left = 5
        """Layers to come before only simple ones do, so that a program compiles in a second."""

    def note(self, text: str) -> None:
        self.notes.append(text)

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[self.rng.integers(len(choices))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def constant(self, *shape: int) -> np.ndarray:
        return self.rng.normal(size=shape)

    def parameter(self, *shape: int) -> int:
        self.leaves.append(self.rng.normal(size=shape) * 0.6 + self.rng.uniform(-0.2, 0.2, shape))
        return len(self.leaves) - 1

    def room(self, *shape: int) -> bool:
        taken = sum(leaf.size for leaf in self.leaves if _is_float(leaf))
        return taken + math.prod(shape) <= MOST_PARAMETERS

    def permutation(self, items: str) -> str:
        return "".join(self.rng.permutation(list(items)))


def _offset(h: jax.Array, by: np.ndarray) -> jax.Array:
    """Makes numbers generic that may be equal: padding, repeated tokens."""
    return h + by.reshape(h.shape[1:])


def _product(h: jax.Array, matrix: np.ndarray) -> jax.Array:
    """What a maximum can be taken of. Any sum would be computed once more for the derivative, with
    another rounding: then no entry equals the maximum, and the derivative is 0 / 0."""
    return h @ matrix


# ---------------------------------------------------------------------------------------------
# Weights: functions of the list of parameters
# ---------------------------------------------------------------------------------------------

Get = Callable[[list], jax.Array]
CHANGES: dict[str, Callable[..., Get | None]] = {}


def change(name: str) -> Callable:
    def add(make: Callable) -> Callable:
        CHANGES[name] = make
        return make

    return add


def weight(d: Draft, shape: Sequence[int], depth: int = 2) -> Get:
    """Returns a weight of a shape: a parameter, or something made of parameters."""
    shape = tuple(int(s) for s in shape)
    if depth and d.chance(0.6):
        name = d.pick(list(CHANGES))
        d.note(name)
        get = CHANGES[name](d, shape, depth - 1)
        if get is not None:
            return get
        d.notes.pop()
    return _source(d, shape)


def _source(d: Draft, shape: tuple[int, ...]) -> Get:
    size = math.prod(shape)
    known = [at for at, leaf in enumerate(d.leaves) if _is_float(leaf)]
    full = not d.room(*shape)
    if known and (full or d.chance(d.again)):
        exact = [at for at in known if d.leaves[at].shape in (shape, shape[::-1])]
        at = d.pick(exact or known)
        found = d.leaves[at].shape
        if found == shape and d.chance(0.6):
            d.note("again")
            return lambda p: p[at]
        if found == shape[::-1]:
            d.note("tied, transposed")
            return lambda p: p[at].T
        d.note("part of one used before")
        times = -(-size // d.leaves[at].size)
        start = int(d.rng.integers(times * d.leaves[at].size - size + 1))
        return lambda p: jnp.tile(p[at].reshape(-1), times)[start : start + size].reshape(shape)
    axis = int(d.rng.integers(len(shape))) if shape else 0
    if shape and d.chance(0.2) and d.room(*shape, 2):
        wide = list(shape)
        wide[axis] += int(d.rng.integers(1, 3))
        at, start = d.parameter(*wide), int(d.rng.integers(wide[axis] - shape[axis] + 1))
        stop = start + shape[axis]
        how = d.pick(["slice", "split", "dynamic", "take"])
        d.note(f"part of a fused one by {how}")
        if how == "split":
            return lambda p: jnp.split(p[at], [start, stop], axis)[1]
        if how == "dynamic":
            return lambda p: lax.dynamic_slice_in_dim(p[at], jnp.int32(start), shape[axis], axis)
        if how == "take":
            return lambda p: jnp.take(p[at], np.arange(start, stop), axis)
        return lambda p: lax.slice_in_dim(p[at], start, stop, 1, axis)
    at = d.parameter(*shape)
    return lambda p: p[at]


def positive(d: Draft, shape: Sequence[int]) -> Get:
    get = weight(d, shape, 1)
    how = d.pick([
        lambda w: jnp.exp(0.3 * w),
        lambda w: jnp.abs(w) + 0.3,
        lambda w: w**2 + 0.3,
        lambda w: jax.nn.softplus(w),
    ])
    return lambda p: how(get(p))


@change("mask")
def _(d, shape, depth):
    get, mask = weight(d, shape, depth), d.rng.random(shape) > 0.3
    if d.chance(0.5):
        return lambda p: get(p) * mask.astype(float)
    return lambda p: jnp.where(mask, get(p), 0.0)


@change("scalar gain")
def _(d, shape, depth):
    get, gain = weight(d, shape, depth), 0.3 + d.rng.random()
    return d.pick([lambda p: get(p) * gain, lambda p: get(p) / gain, lambda p: -gain * get(p)])


@change("learnt scalar gain")
def _(d, shape, depth):
    get, gain = weight(d, shape, depth), weight(d, (), 0)
    return lambda p: get(p) * gain(p)


@change("vector gain")
def _(d, shape, depth):
    if not shape:
        return None
    axis = int(d.rng.integers(len(shape)))
    thin = [s if at == axis else 1 for at, s in enumerate(shape)]
    get, gain = weight(d, shape, depth), weight(d, thin, 0)
    return lambda p: get(p) * gain(p)


@change("projection")
def _(d, shape, depth):
    if not shape:
        return None
    axis, rank = int(d.rng.integers(len(shape))), int(d.rng.integers(1, 4))
    inner = [rank if at == axis else s for at, s in enumerate(shape)]
    get, matrix = weight(d, inner, depth), d.constant(rank, shape[axis]) * 0.7
    return lambda p: jnp.moveaxis(jnp.moveaxis(get(p), axis, -1) @ matrix, -1, axis)


@change("rows gathered")
def _(d, shape, depth):
    if not shape:
        return None
    axis, wide = int(d.rng.integers(len(shape))), int(d.rng.integers(1, 5))
    inner = [wide if at == axis else s for at, s in enumerate(shape)]
    get, rows = weight(d, inner, depth), d.rng.integers(0, wide, shape[axis])
    return lambda p: jnp.take(get(p), rows, axis=axis)


@change("gathered by an index among the parameters")
def _(d, shape, depth):
    if not shape:
        return None
    get = weight(d, (3, *shape[1:]), depth)
    d.leaves.append(d.rng.integers(0, 3, shape[0]).astype(np.int32))
    at = len(d.leaves) - 1
    return lambda p: get(p)[p[at]]


@change("convolved with a filter")
def _(d, shape, depth):
    if not shape or shape[-1] < 2:
        return None
    get, taps = weight(d, shape, depth), d.constant(3, 1, 1)

    def convolved(p):
        w = get(p)
        rows = w.reshape(-1, w.shape[-1], 1)
        numbers = ("NWC", "WIO", "NWC")
        out = lax.conv_general_dilated(rows, taps, (1,), "SAME", dimension_numbers=numbers)
        return out.reshape(w.shape)

    return convolved


NARROW = "as float32 and back"


@change(NARROW)
def _(d, shape, depth):
    get = weight(d, shape, depth)
    return lambda p: get(p).astype(jnp.float32).astype(jnp.float64)


@change("elementwise")
def _(d, shape, depth):
    get, by = weight(d, shape, depth), d.constant(*shape)
    which, how = d.pick([
        ("abs", jnp.abs),
        ("exp", lambda w: jnp.exp(0.4 * w)),
        ("sin", jnp.sin),
        ("square", lambda w: w * w),
        ("cube", lambda w: w**3),
        ("sigmoid", jax.nn.sigmoid),
        ("relu", lambda w: jax.nn.relu(w + by)),
        ("clip", lambda w: jnp.clip(w, -0.71, 0.83)),
        ("sign times itself", lambda w: jnp.sign(w) * w),
        ("round and its rest", lambda w: w - jnp.round(w)),
        ("erf", lambda w: lax.erf(w)),
        ("rsqrt", lambda w: lax.rsqrt(w**2 + 0.5)),
        ("log1p", lambda w: jnp.log1p(w**2)),
    ])
    d.note(which)
    return lambda p: how(get(p))


@change("softmax")
def _(d, shape, depth):
    if not shape:
        return None
    get, axis = weight(d, shape, depth), int(d.rng.integers(len(shape)))
    return lambda p: 2.0 * jax.nn.softmax(get(p), axis=axis)


@change("weight norm")
def _(d, shape, depth):
    if not shape:
        return None
    get, axis = weight(d, shape, depth), int(d.rng.integers(len(shape)))
    if d.chance(0.5):
        return lambda p: get(p) / jnp.sqrt(0.1 + jnp.sum(get(p) ** 2, axis, keepdims=True))
    return lambda p: get(p) / jnp.linalg.norm(get(p))


@change("standardised")
def _(d, shape, depth):
    if not shape or math.prod(shape) < 3:
        return None
    get, axis = weight(d, shape, depth), d.pick([None, 0, -1])

    def standardised(p):
        w = get(p)
        return (w - w.mean(axis, keepdims=True)) / jnp.sqrt(w.var(axis, keepdims=True) + 0.2)

    return standardised


@change("plus one of low rank")
def _(d, shape, depth):
    if len(shape) != 2:
        return None
    get, a, b = weight(d, shape, depth), weight(d, (shape[0], 1), 0), weight(d, (1, shape[1]), 0)
    return lambda p: get(p) + 0.5 * (a(p) @ b(p))


@change("low rank only")
def _(d, shape, depth):
    if len(shape) != 2:
        return None
    rank = int(d.rng.integers(1, 3))
    a, b = weight(d, (shape[0], rank), depth), weight(d, (rank, shape[1]), 0)
    return lambda p: a(p) @ b(p)


@change("sum of two")
def _(d, shape, depth):
    a, b = weight(d, shape, depth), weight(d, shape, 0)
    return d.pick([lambda p: a(p) + b(p), lambda p: a(p) - 0.5 * b(p)])


@change("product of two")
def _(d, shape, depth):
    a, b = weight(d, shape, depth), weight(d, shape, 0)
    return lambda p: a(p) * b(p)


@change("a part of it constant")
def _(d, shape, depth):
    get, other = weight(d, shape, depth), weight(d, shape, 0)
    return d.pick([
        lambda p: get(p) + lax.stop_gradient(other(p)),
        lambda p: get(p) * lax.stop_gradient(jnp.tanh(get(p))),
        lambda p: get(p) / lax.stop_gradient(1.0 + jnp.abs(get(p)).max()),
        lambda p: lax.stop_gradient(get(p)) + 0.5 * other(p),
    ])


@change("cumulative")
def _(d, shape, depth):
    if not shape:
        return None
    get, axis = weight(d, shape, depth), int(d.rng.integers(len(shape)))
    which = d.pick(["cumsum", "cumprod", "cumlogsumexp"])
    d.note(which)
    of = {
        "cumsum": partial(lax.cumsum, axis=axis, reverse=d.chance(0.5)),
        "cumprod": partial(lax.cumprod, axis=axis),
        "cumlogsumexp": partial(lax.cumlogsumexp, axis=axis),
    }[which]
    return lambda p: of(get(p))


@change("turned")
def _(d, shape, depth):
    if not shape:
        return None
    get, axis = weight(d, shape, depth), int(d.rng.integers(len(shape)))
    return d.pick([
        lambda p: jnp.flip(get(p), axis),
        lambda p: jnp.roll(get(p), 1, axis),
        lambda p: jnp.roll(get(p), jnp.int32(2), axis),
        lambda p: get(p)[tuple(slice(None, None, -1) for _ in shape)],
    ])


@change("transposed")
def _(d, shape, depth):
    if len(shape) < 2:
        return None
    order = d.rng.permutation(len(shape))
    inner = [shape[at] for at in order]
    get, back = weight(d, inner, depth), np.argsort(order)
    return lambda p: jnp.transpose(get(p), back)


@change("reshaped")
def _(d, shape, depth):
    get = weight(d, d.pick([(math.prod(shape),), shape[::-1], (1, *shape)]), depth)
    return lambda p: get(p).reshape(shape)


@change("padded")
def _(d, shape, depth):
    if not shape or shape[-1] < 2:
        return None
    low = int(d.rng.integers(2))
    inner, width = (*shape[:-1], shape[-1] - 1), [(0, 0)] * (len(shape) - 1) + [(low, 1 - low)]
    get, mode = weight(d, inner, depth), d.pick(["constant", "edge"])
    return lambda p: jnp.pad(get(p), width, mode=mode)


@change("two joined")
def _(d, shape, depth):
    wide = [at for at, s in enumerate(shape) if s > 1]
    if not wide:
        return None
    axis = d.pick(wide)
    first = int(d.rng.integers(1, shape[axis]))
    one, two = list(shape), list(shape)
    one[axis], two[axis] = first, shape[axis] - first
    a, b = weight(d, one, depth), weight(d, two, 0)
    return lambda p: jnp.concatenate([a(p), b(p)], axis)


@change("repeated")
def _(d, shape, depth):
    if not shape:
        return None
    axis = int(d.rng.integers(len(shape)))
    get = weight(d, [1 if at == axis else s for at, s in enumerate(shape)], depth)
    times = shape[axis]
    return d.pick([
        lambda p: jnp.repeat(get(p), times, axis),
        lambda p: jnp.broadcast_to(get(p), shape),
        lambda p: jnp.concatenate([get(p)] * times, axis),
        lambda p: jnp.tile(get(p), [times if at == axis else 1 for at in range(len(shape))]),
    ])


@change("sorted")
def _(d, shape, depth):
    if not shape:
        return None
    get, axis = weight(d, shape, depth), int(d.rng.integers(len(shape)))
    by = d.constant(*shape)
    return d.pick([
        lambda p: jnp.sort(get(p) + by, axis=axis),
        lambda p: jnp.take_along_axis(get(p), jnp.argsort(get(p) + by, axis=axis), axis=axis),
    ])


@change("symmetric")
def _(d, shape, depth):
    if len(shape) != 2 or shape[0] != shape[1]:
        return None
    get = weight(d, shape, depth)
    return d.pick([
        lambda p: get(p) + get(p).T,
        lambda p: get(p) @ get(p).T,
        lambda p: jnp.tril(get(p)),
        lambda p: jnp.triu(get(p), 1) - jnp.triu(get(p), 1).T,
    ])


@change("a circulant of a vector")
def _(d, shape, depth):
    if len(shape) != 2:
        return None
    get, size = weight(d, (shape[1],), depth), shape[1]
    places = (np.arange(shape[1]) - np.arange(shape[0])[:, None]) % size
    return lambda p: get(p)[places]


@change("a diagonal")
def _(d, shape, depth):
    if len(shape) != 2 or shape[0] != shape[1]:
        return None
    get = weight(d, shape[:1], depth)
    return d.pick([lambda p: jnp.diag(get(p)), lambda p: jnp.eye(shape[0]) * get(p)])


@change("an outer product")
def _(d, shape, depth):
    if len(shape) < 2:
        return None
    a, b = weight(d, shape[:1], depth), weight(d, shape[1:], 0)
    return d.pick([
        lambda p: jnp.tensordot(a(p), b(p), 0),
        lambda p: a(p).reshape(-1, *[1] * (len(shape) - 1)) * b(p)[None],
    ])


@change("set in a part")
def _(d, shape, depth):
    if not shape:
        return None
    get, part = weight(d, shape, depth), weight(d, shape[1:], 0)
    at = int(d.rng.integers(shape[0]))
    return d.pick([
        lambda p: get(p).at[at].set(part(p)),
        lambda p: get(p).at[at].add(part(p)),
        lambda p: get(p).at[np.array([at, at])].add(0.5 * part(p)),
        lambda p: lax.dynamic_update_index_in_dim(get(p), part(p), jnp.int32(at), 0),
    ])


@change("chosen by the largest of another")
def _(d, shape, depth):
    get, judge = weight(d, (2, *shape), depth), weight(d, (2,), 0)
    by = d.constant(2)
    return lambda p: get(p)[jnp.argmax(judge(p) + by)]


@change("reduced")
def _(d, shape, depth):
    get, matrix = weight(d, (2, *shape), depth), d.constant(2, 2)
    return d.pick([
        lambda p: get(p).sum(0),
        lambda p: get(p).prod(0),
        lambda p: _product(jnp.moveaxis(get(p), 0, -1), matrix).max(-1),
        lambda p: jax.nn.logsumexp(get(p), axis=0),
        lambda p: jnp.einsum("a...,a->...", get(p), np.array([0.7, -0.4])),
    ])


@change("a small network of its own")
def _(d, shape, depth):
    get, inner = weight(d, (2, math.prod(shape)), depth), weight(d, (1, 2), 0)
    return lambda p: (jnp.tanh(inner(p)) @ get(p)).reshape(shape)


@change("in a loop over itself")
def _(d, shape, depth):
    if len(shape) != 2 or shape[0] != shape[1]:
        return None
    get = weight(d, shape, depth)

    def power(p):
        w = 0.5 * get(p)
        return d_pick(w)

    d_pick = d.pick([
        lambda w: lax.scan(lambda c, _: (jnp.tanh(c @ w), None), w, length=2)[0],
        lambda w: lax.fori_loop(0, 2, lambda _, c: jnp.tanh(c @ w), jnp.eye(len(w))),
        lambda w: lax.map(lambda row: row * row.sum(), w),
        lambda w: jax.vmap(lambda row, col: row * col, in_axes=(0, 1))(w, w),
        lambda w: jnp.linalg.matrix_power(w, 2),
    ])
    return power


@change("inside")
def _(d, shape, depth):
    get = weight(d, shape, depth)
    name = _wrapper(d)
    d.note(name)
    wrap = WRAPS[name]
    return lambda p: wrap(get)(p)


@change("rounded, by a custom_vjp")
def _(d, shape, depth):
    get = weight(d, shape, depth)
    return lambda p: straight_through(get(p))


# ---------------------------------------------------------------------------------------------
# Rules of one's own
# ---------------------------------------------------------------------------------------------


@jax.custom_vjp
def straight_through(w):
    """Rounds; its rule says that it does not."""
    return jnp.round(w * 4.0) / 4.0


straight_through.defvjp(lambda w: (straight_through(w), None), lambda _, c: (c,))


@jax.custom_vjp
def reversed_gradient(h):
    """Does nothing; its rule turns the gradient round."""
    return h


reversed_gradient.defvjp(lambda h: (h, None), lambda _, c: (-0.5 * c,))


@jax.custom_jvp
def own_softplus(h):
    """With its right rule."""
    return jnp.logaddexp(h, 0.0)


@own_softplus.defjvp
def _(primals, tangents):
    return own_softplus(*primals), jax.nn.sigmoid(primals[0]) * tangents[0]


@jax.custom_jvp
def surrogate_spike(h):
    """A step; its rule is the slope of something smooth."""
    return jnp.where(h > 0.1234, 1.0, 0.0)


@surrogate_spike.defjvp
def _(primals, tangents):
    return surrogate_spike(*primals), tangents[0] / (1.0 + 3.0 * primals[0] ** 2)


@jax.custom_vjp
def own_matmul(h, w):
    """With its right rule."""
    return h @ w


own_matmul.defvjp(
    lambda h, w: (h @ w, (h, w)),
    lambda kept, c: (
        c @ kept[1].T,
        kept[0].reshape(-1, kept[0].shape[-1]).T @ c.reshape(-1, c.shape[-1]),
    ),
)


def _scaled(tree: Any, by: float) -> Any:
    return jax.tree.map(lambda leaf: leaf * by if _is_float(leaf) else leaf, tree)


def _with_own_rule(f: Callable, by: float) -> Callable:
    own = jax.custom_vjp(f)
    own.defvjp(lambda *a: jax.vjp(f, *a), lambda pull_back, c: pull_back(_scaled(c, by)))
    return own


def _with_own_tangents(f: Callable, by: float) -> Callable:
    own = jax.custom_jvp(f)

    def rule(primals, tangents):
        out, change = jax.jvp(f, primals, tangents)
        return out, _scaled(change, by)

    own.defjvp(rule)
    return own


# ---------------------------------------------------------------------------------------------
# Wrappers of a function: arrays or lists of them in, arrays or lists of them out
# ---------------------------------------------------------------------------------------------


def _half(f: Callable) -> Callable:
    return lambda *a: _scaled(f(*a), 0.5)


def _of_halves(f: Callable) -> Callable:
    return lambda *a: f(*_scaled(a, 0.5))


def _by_scan(f: Callable, carried: str) -> Callable:
    def run(*a):
        stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], a)
        if carried == "sliced":
            every = lax.scan(lambda c, a: (c, f(*a)), 0.0, stacked)[1]
            return jax.tree.map(lambda leaf: leaf[0], every)
        shapes = jax.eval_shape(f, *a)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        if carried == "carried":
            return lax.scan(lambda c, _: ((f(*c[1]), c[1]), None), (zeros, a), length=1)[0][0]
        return lax.scan(lambda c, _: (f(*a), c), zeros, length=1)[0]

    return run


def _switched(f: Callable, at: int) -> Callable:
    def run(*a):
        branches = [_half(f), _of_halves(f)]
        branches.insert(at, f)
        return lax.switch(jnp.int32(at), branches, *a)

    return run


WRAPS: dict[str, Callable[[Callable], Callable]] = {
    "jit": jax.jit,
    "jit in jit": lambda f: jax.jit(lambda *a: jax.jit(f)(*a)),
    "inlined jit": lambda f: jax.jit(f, inline=True),
    "checkpoint": jax.checkpoint,
    "checkpoint of a jit": lambda f: jax.checkpoint(jax.jit(f)),
    "jit of a checkpoint that saves products": lambda f: jax.jit(
        jax.checkpoint(f, policy=jax.checkpoint_policies.dots_saveable)
    ),
    "cond, true": lambda f: lambda *a: lax.cond(jnp.array(True), f, _half(f), *a),
    "cond, false": lambda f: lambda *a: lax.cond(jnp.array(False), _of_halves(f), f, *a),
    "cond, closed over": lambda f: (
        lambda *a: lax.cond(jnp.array(True), lambda: f(*a), lambda: _half(f)(*a))
    ),
    "switch, first": lambda f: _switched(f, 0),
    "switch, last": lambda f: _switched(f, 2),
    "scan of one, sliced": lambda f: _by_scan(f, "sliced"),
    "scan of one, carried": lambda f: _by_scan(f, "carried"),
    "scan of one, closed over": lambda f: _by_scan(f, "closed over"),
    "vmap of one": lambda f: (
        lambda *a: jax.tree.map(
            lambda leaf: leaf[0],
            jax.vmap(f)(*jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], a)),
        )
    ),
    "vmap over nothing": lambda f: (
        lambda *a: jax.tree.map(lambda leaf: leaf[1], jax.vmap(lambda _: f(*a))(jnp.arange(2)))
    ),
    "custom_jvp": lambda f: _with_own_tangents(f, 1.0),
    "custom_vjp": lambda f: _with_own_rule(f, 1.0),
    "custom_vjp in jit": lambda f: jax.jit(_with_own_rule(f, 1.0)),
    "custom_vjp, wrong": lambda f: _with_own_rule(f, 2.0),
    "custom_vjp, wrong, in jit": lambda f: jax.jit(_with_own_rule(f, -0.5)),
    "custom_jvp, wrong": lambda f: _with_own_tangents(f, 0.7),
    "checkpoint of a custom_vjp": lambda f: jax.checkpoint(_with_own_rule(f, 1.0)),
    "barrier": lambda f: lambda *a: lax.optimization_barrier(f(*a)),
    "by platform": lambda f: lambda *a: lax.platform_dependent(*a, cpu=f, default=f),
    "named": lambda f: jax.named_call(f, name="named"),
    "name for a policy": lambda f: (
        lambda *a: jax.tree.map(
            lambda leaf: checkpoint_name(leaf, "kept") if _is_float(leaf) else leaf, f(*a)
        )
    ),
}


def _wrapper(d: Draft) -> str:
    """Draws a wrapper; JAX's own derivative of a custom_jvp does not go through a custom_vjp."""
    reverse_only = any("custom_vjp" in note for note in d.notes)
    return d.pick([name for name in WRAPS if not (reverse_only and "custom_jvp" in name)])


OF_THEIR_ARGUMENTS = [name for name in WRAPS if "custom" in name]
"""What may not close over parameters."""


# ---------------------------------------------------------------------------------------------
# Layers: functions of the parameters and the data
# ---------------------------------------------------------------------------------------------

Layer = Callable[[list, jax.Array], jax.Array]
LAYERS: dict[str, tuple[tuple[int, ...], Callable[..., Layer | None]]] = {}


def layer(name: str, *ranks: int) -> Callable:
    def add(make: Callable) -> Callable:
        LAYERS[name] = (ranks, make)
        return make

    return add


def _width(d: Draft) -> int:
    return int(d.rng.integers(1, 5))


@layer("dense", 1, 2, 3)
def _(d, shape):
    w = weight(d, (shape[-1], _width(d)))
    if d.chance(0.7):
        return lambda p, h: h @ w(p)
    d.note("by a custom_vjp")
    return lambda p, h: own_matmul(h, w(p))


@layer("dense, weights on the left", 1, 2)
def _(d, shape):
    w = weight(d, (_width(d), shape[-1]))
    if len(shape) == 1:
        return d.pick([lambda p, h: (w(p) @ h.T).T, lambda p, h: jnp.inner(h, w(p))])
    return lambda p, h: jnp.swapaxes(w(p) @ jnp.swapaxes(h, -1, -2), -1, -2)


@layer("einsum", 1, 2, 3)
def _(d, shape):
    letters = "abc"[: len(shape)]
    roles = {letter: d.pick(["kept", "summed", "along"]) for letter in letters[:-1]}
    roles[letters[-1]] = d.pick(["summed", "summed", "along"])
    given = "".join(letter for letter in letters if roles[letter] != "kept")
    kept = "".join(letter for letter in letters if roles[letter] != "summed")
    sizes = dict(zip(letters, shape, strict=True)) | {"o": _width(d)}
    weights, data, out = d.permutation(given + "o"), d.permutation("n" + letters), f"n{kept}o"
    mixed = d.permutation(out)
    w = weight(d, [sizes[letter] for letter in weights])
    to_data = [("n" + letters).index(letter) for letter in data]
    back = [mixed.index(letter) for letter in out]
    d.note(f"{data},{weights}->{mixed}")
    first = d.chance(0.5)

    def run(p, h):
        h = jnp.transpose(h, to_data)
        if first:
            mixed_out = jnp.einsum(f"{weights},{data}->{mixed}", w(p), h)
        else:
            mixed_out = jnp.einsum(f"{data},{weights}->{mixed}", h, w(p))
        return jnp.transpose(mixed_out, back)

    return run


@layer("dot_general", 2, 3)
def _(d, shape):
    # Batch dimensions that the weights share: one axis of the data, not the last.
    along, width = int(d.rng.integers(len(shape) - 1)), _width(d)
    sizes = [shape[-1], shape[along], width]
    order = d.rng.permutation(3)
    w = weight(d, [sizes[at] for at in order])
    contract, batch = int(np.argsort(order)[0]), int(np.argsort(order)[1])
    left = d.chance(0.5)

    def run(p, h):
        ours, theirs = ((h.ndim - 1,), (along + 1,)), ((contract,), (batch,))
        if left:
            out = lax.dot_general(w(p), h, ((theirs[0], ours[0]), (theirs[1], ours[1])))
            out = jnp.moveaxis(out, 1, -1)
        else:
            out = lax.dot_general(h, w(p), ((ours[0], theirs[0]), (ours[1], theirs[1])))
        return jnp.moveaxis(out, 0, along + 1)

    return run


@layer("product of three", 1, 2, 3)
def _(d, shape):
    u, v = weight(d, (shape[-1], 2)), weight(d, (2, _width(d)), 1)
    return d.pick([
        lambda p, h: jnp.einsum("...d,dr,ro->...o", h, u(p), v(p)),
        lambda p, h: h @ (u(p) @ v(p)),
        lambda p, h: jnp.linalg.multi_dot([h.reshape(-1, h.shape[-1]), u(p), v(p)]).reshape(
            *h.shape[:-1], -1
        ),
    ])


@layer("bilinear in the data", 1, 2)
def _(d, shape):
    if shape[-1] > 4:
        return None
    w = weight(d, (shape[-1], shape[-1], 2))
    return lambda p, h: jnp.einsum("...i,...j,ijo->...o", h, jnp.sin(h), w(p))


@layer("weights made of the data", 1, 2)
def _(d, shape):
    if shape[-1] > 4:
        return None
    w = weight(d, (shape[-1], shape[-1], 2))

    def run(p, h):
        made = jnp.einsum("...i,ijo->...jo", h, w(p))
        return jnp.einsum("...j,...jo->...o", jnp.cos(h), made)

    return run


@layer("gated", 1, 2, 3)
def _(d, shape):
    w, v = (weight(d, (shape[-1], shape[-1]), 1) for _ in range(2))
    return d.pick([
        lambda p, h: h * jax.nn.sigmoid(h @ w(p)),
        lambda p, h: (h @ w(p)) * jax.nn.silu(h @ v(p)),
        lambda p, h: h + jnp.tanh(h @ w(p)) @ w(p).T,
    ])


def _thin(d: Draft, shape: Sequence[int]) -> tuple[int, ...]:
    thin = tuple(s if d.chance(0.7) else 1 for s in shape)
    return d.pick([thin, thin, thin[1:], ()])


def _bias(d: Draft, shape: Sequence[int]) -> Layer:
    w = weight(d, _thin(d, shape))
    return lambda p, h: h + _over(w(p), h)


def _over(w: jax.Array, h: jax.Array) -> jax.Array:
    return w.reshape(*[1] * (h.ndim - w.ndim), *w.shape)


layer("bias", 1, 2, 3)(_bias)


@layer("scale", 1, 2, 3)
def _(d, shape):
    w = weight(d, _thin(d, shape))
    return d.pick([lambda p, h: h * _over(w(p), h), lambda p, h: _over(w(p), h) * h])


@layer("elementwise with weights", 1, 2, 3)
def _(d, shape):
    thin = _thin(d, shape)
    w, by, mask = weight(d, thin), d.constant(*shape), d.rng.random(shape) > 0.5
    which, how = d.pick([
        ("sub", lambda h, w: h - w),
        ("sub from", lambda h, w: w - h),
        ("div by square", lambda h, w: h / (0.5 + w**2)),
        ("div of", lambda h, w: w / (0.5 + h**2)),
        ("maximum", lambda h, w: jnp.maximum(_offset(h, by), w)),
        ("minimum", lambda h, w: jnp.minimum(w, _offset(h, by))),
        ("where", lambda h, w: jnp.where(mask, h, w)),
        ("where of data", lambda h, w: jnp.where(_offset(h, by) > 0, h, w * h)),
        ("select by data", lambda h, w: jnp.where(_offset(h, by) > 0.1, w, h)),
        ("compared", lambda h, w: jnp.where(_offset(h, by) > w, w * w, h)),
        ("clamp", lambda h, w: jnp.clip(_offset(h, by), w - 0.8, w + 0.7)),
        ("atan2", lambda h, w: jnp.arctan2(h, w**2 + 0.3)),
        ("logaddexp", jnp.logaddexp),
        ("sin of the product", lambda h, w: jnp.sin(h * w)),
        ("product and sum", lambda h, w: h * w + w),
        ("squared distance", lambda h, w: jnp.square(h - w)),
        ("snake", lambda h, w: h + jnp.sin(w * h) ** 2 / (0.2 + w**2)),
    ])
    d.note(which)
    return lambda p, h: how(h, _over(w(p), h))


@layer("power with weights", 1, 2, 3)
def _(d, shape):
    w = positive(d, _thin(d, shape))
    return d.pick([
        lambda p, h: (0.3 + jnp.tanh(h) ** 2) ** _over(w(p), h),
        lambda p, h: _over(w(p), h) ** jnp.tanh(h),
        lambda p, h: h / _over(w(p), h),
    ])


@layer("layer norm", 1, 2, 3)
def _(d, shape):
    scale, shift = weight(d, shape[-1:]), weight(d, shape[-1:], 0)
    axes = d.pick([(-1,), tuple(range(-len(shape), 0))])
    centred = d.chance(0.6)

    def run(p, h):
        h = h - h.mean(axes, keepdims=True) if centred else h
        h = h * lax.rsqrt(jnp.mean(h**2, axes, keepdims=True) + 0.1)
        return h * _over(scale(p), h) + _over(shift(p), h)

    return run


@layer("learnt entries joined", 1, 2, 3)
def _(d, shape):
    axis = int(d.rng.integers(len(shape)))
    w = weight(d, [1 if at == axis else s for at, s in enumerate(shape)])

    def broadcast(w, h):
        return jnp.broadcast_to(w[None], (len(h), *w.shape))

    how = d.pick([
        broadcast,
        lambda w, h: jnp.tile(w[None], (len(h), *[1] * w.ndim)),
        lambda w, h: jnp.repeat(w[None], len(h), axis=0),
        lambda w, h: jnp.zeros((len(h), *w.shape)) + w[None],
        lambda w, h: jax.vmap(lambda _: w)(jnp.arange(len(h))),
    ])
    if d.chance(0.2):
        return lambda p, h: jax.vmap(lambda one: jnp.concatenate([w(p), one], axis))(h)
    order = d.pick([1, -1])
    return lambda p, h: jnp.concatenate([how(w(p), h), h][::order], axis + 1)


@layer("scattered into the data", 1, 2, 3)
def _(d, shape):
    axis = int(d.rng.integers(len(shape)))
    at = int(d.rng.integers(shape[axis]))
    w = weight(d, [s for other, s in enumerate(shape) if other != axis])
    place = (slice(None),) * (axis + 1) + (at,)
    twice = (*place[:-1], np.array([at, at]))
    pair = np.array([0.3, 0.7]).reshape(2, *[1] * (len(shape) - 1 - axis))
    return d.pick([
        lambda p, h: h.at[place].set(w(p)[None]),
        lambda p, h: h.at[place].add(w(p)[None]),
        lambda p, h: h.at[place].multiply(w(p)[None]),
        lambda p, h: h.at[twice].add(jnp.expand_dims(w(p), axis)[None] * pair),
        lambda p, h: lax.dynamic_update_index_in_dim(
            h, jnp.broadcast_to(w(p)[None], (len(h), *w(p).shape)), jnp.int32(at), axis + 1
        ),
    ])


def _ids(d: Draft, shape: Sequence[int], words: int) -> Callable[[jax.Array], jax.Array]:
    """Returns whole numbers of the data, which have no derivative."""
    by = d.constant(*shape) * 3.0
    return d.pick([
        lambda h: jnp.floor(3.0 * h + by).astype(jnp.int32) % words,
        lambda h: jnp.clip(jnp.round(2.0 * h + by), 0, words - 1).astype(jnp.int32),
        lambda h: jnp.digitize(_offset(h, by), np.linspace(-2, 2, words + 1)[1:-1]),
        lambda h: jnp.searchsorted(np.linspace(-2, 2, words - 1), _offset(h, by)),
    ])


@layer("scattered where the data says", 1, 2)
def _(d, shape):
    w, ids = weight(d, shape[1:]), _ids(d, shape, shape[0])
    how = d.pick(["set", "add"])
    return lambda p, h: jax.vmap(
        lambda one, at: getattr(one.at[at.reshape(-1)[0]], how)(w(p) * one.sum())
    )(h, ids(h))


@layer("counted into buckets", 1, 2)
def _(d, shape):
    w, ids = weight(d, shape), _ids(d, shape, 3)

    def run(p, h):
        rows = jnp.arange(len(h)).reshape(-1, *[1] * len(shape))
        values = h * w(p)[None]
        if len(shape) == 1:
            return jnp.zeros((len(h), 3)).at[rows, ids(h)].add(values)
        return jax.vmap(lambda v, i: jax.ops.segment_sum(v.reshape(-1), i.reshape(-1), 3))(
            values, ids(h)
        )

    return run


@layer("embedding of what the data says", 1, 2)
def _(d, shape):
    width = 1 if len(shape) == 2 else 2
    table, ids = weight(d, (3, width)), _ids(d, shape, 3)
    by = d.rng.integers(-3, 1)
    how = d.pick([
        lambda w, at: w[at],
        lambda w, at: w[at + by],
        lambda w, at: jnp.take(w, at, axis=0),
        lambda w, at: jnp.take(w, at, axis=0, mode="fill", fill_value=0.5),
        lambda w, at: jnp.take(w.T, at, axis=1).transpose(*range(1, at.ndim + 1), 0),
        lambda w, at: jax.nn.one_hot(at, 3, dtype=w.dtype) @ w,
        lambda w, at: w.at[at].get(mode="clip"),
        lambda w, at: jnp.stack([w[at, column] for column in range(width)], axis=-1),
    ])

    def run(p, h):
        out = how(table(p), ids(h)) * jnp.cos(h)[..., None]
        return out.reshape(*h.shape[:-1], -1)

    return run


@layer("weights at the places that the data says", 1, 2)
def _(d, shape):
    w, ids = weight(d, shape), _ids(d, shape, shape[-1])
    v = weight(d, (shape[-1],), 0)

    def along(p, h):
        all_rows = jnp.broadcast_to(w(p)[None], h.shape)
        return h + jnp.take_along_axis(all_rows, ids(h), axis=-1)

    return d.pick([
        along,
        lambda p, h: h * v(p)[ids(h)],
        lambda p, h: h + jax.vmap(lambda at: v(p)[at])(ids(h)),
        lambda p, h: jnp.take_along_axis(h, ids(h), axis=-1) * w(p)[None],
    ])


@layer("slice of the weights where the data says", 1, 2)
def _(d, shape):
    w, ids = weight(d, (4, shape[-1])), _ids(d, shape, 3)
    over = d.pick(["vmap", "map"])

    def one(p, h, at):
        part = lax.dynamic_slice(w(p), (at.reshape(-1)[0], jnp.int32(0)), (2, shape[-1]))
        return h @ part.T

    if over == "vmap":
        return lambda p, h: jax.vmap(partial(one, p))(h, ids(h))
    return lambda p, h: lax.map(lambda a: one(p, *a), (h, ids(h)))


@layer("experts", 1, 2)
def _(d, shape):
    w, gate = weight(d, (2, shape[-1], 2)), weight(d, (shape[-1], 2), 1)
    by = d.constant(2)
    soft = d.chance(0.5)

    def run(p, h):
        scores = jax.nn.softmax(h @ gate(p))
        if soft:
            return jnp.einsum("...e,...i,eio->...o", scores, h, w(p))
        best, where = lax.top_k(scores + 0.01 * by, 1)
        chosen = w(p)[where[..., 0]]
        return jnp.einsum("...i,...io->...o", h, chosen) * best

    return run


@layer("attention", 2)
def _(d, shape):
    tokens, width = shape
    heads, causal = int(d.rng.integers(1, 3)), d.chance(0.4)
    qkv, out = weight(d, (width, 3 * heads * 2)), weight(d, (heads * 2, width), 1)
    by_vmap = d.chance(0.4)

    def attend(q, k, v):
        scores = jnp.einsum("...qd,...kd->...qk", q, k) / np.sqrt(2.0)
        if causal:
            scores = jnp.where(np.tril(np.ones((tokens, tokens), bool)), scores, -jnp.inf)
        return jax.nn.softmax(scores, axis=-1) @ v

    def run(p, h):
        parts = jnp.split(h @ qkv(p), 3, axis=-1)
        q, k, v = (part.reshape(*part.shape[:-1], heads, 2) for part in parts)
        if by_vmap:
            mixed = jax.vmap(attend, in_axes=(2, 2, 2), out_axes=2)(q, k, v)
        else:
            mixed = attend(*(jnp.swapaxes(part, 1, 2) for part in (q, k, v))).swapaxes(1, 2)
        return mixed.reshape(*h.shape[:-1], heads * 2) @ out(p)

    return run


@layer("learnt queries", 2)
def _(d, shape):
    query, keys = weight(d, (2, shape[-1])), weight(d, (shape[-1], shape[-1]), 1)
    return d.pick([
        lambda p, h: jax.nn.softmax(query(p) @ jnp.swapaxes(h @ keys(p), -1, -2), axis=-1) @ h,
        lambda p, h: jax.vmap(
            lambda one: jax.nn.softmax(jnp.einsum("md,td->mt", query(p), one @ keys(p))) @ one
        )(h),
    ])


@layer("tokens mixed", 2, 3)
def _(d, shape):
    w = weight(d, (shape[0], int(d.rng.integers(1, 4))))
    return d.pick([
        lambda p, h: jnp.einsum("nt...,ts->ns...", h, w(p)),
        lambda p, h: jnp.moveaxis(jnp.tensordot(h, w(p), ((1,), (0,))), -1, 1),
    ])


@layer("positions", 2, 3)
def _(d, shape):
    w = weight(d, (1, *shape))
    return lambda p, h: h + w(p)


@layer("one matrix a token, by vmap", 2)
def _(d, shape):
    tokens, width = shape
    w, out = weight(d, (tokens, width, 2)), d.pick([0, 1])
    if out == 0:
        return lambda p, h: jax.vmap(jnp.matmul, in_axes=(1, 0))(h, w(p)).swapaxes(0, 1)
    return lambda p, h: jax.vmap(jnp.matmul, in_axes=(1, 0), out_axes=1)(h, w(p))


@layer("an ensemble by vmap", 1, 2)
def _(d, shape):
    w = weight(d, (2, shape[-1], 2))
    return d.pick([
        lambda p, h: jax.vmap(lambda w: jnp.tanh(h @ w))(w(p)).mean(0),
        lambda p, h: jax.vmap(lambda w: jnp.tanh(h @ w), out_axes=-1)(w(p)).sum(-1),
        lambda p, h: lax.map(lambda w: jnp.tanh(h @ w), w(p))[1] + (h @ w(p)[0]),
    ])


@layer("tokens by lax.map", 2)
def _(d, shape):
    w = weight(d, (shape[-1], _width(d)))
    per_token = weight(d, (shape[0], shape[-1]), 1)
    return d.pick([
        lambda p, h: lax.map(lambda t: jnp.tanh(t @ w(p)), h.swapaxes(0, 1)).swapaxes(0, 1),
        lambda p, h: jnp.moveaxis(
            lax.map(lambda a: (a[0] * a[1]) @ w(p), (h.swapaxes(0, 1), per_token(p))), 0, 1
        ),
    ])


@layer("recurrent", 2)
def _(d, shape):
    width = shape[-1]
    state = int(d.rng.integers(1, 4))
    a, b, start = weight(d, (width, state)), weight(d, (state, state)), weight(d, (state,), 1)
    reverse, returned = d.chance(0.4), d.pick(["last", "all", "all, one unused", "sum"])
    carried, unroll = d.chance(0.4), int(d.rng.integers(1, 3))
    d.note(f"{returned}{', reverse' if reverse else ''}{', weights carried' if carried else ''}")

    def run(p, h):
        initial = jnp.zeros((len(h), state)) + start(p)

        def step(carry, token):
            c, w = carry
            c = jnp.tanh(token @ a(p) + c @ w)
            return (c, w), (c, w * 2.0, c.sum())

        def closed(c, token):
            c = jnp.tanh(token @ a(p) + c @ b(p))
            return c, (c, token)

        tokens_first, options = h.swapaxes(0, 1), {"reverse": reverse, "unroll": unroll}
        if carried:
            (last, _), (every, *_) = lax.scan(step, (initial, b(p)), tokens_first, **options)
        else:
            last, (every, _) = lax.scan(closed, initial, tokens_first, **options)
        if returned == "last":
            return last
        if returned == "sum":
            return every.sum(0)
        return every.swapaxes(0, 1)

    return run


@layer("layers stacked", 1, 2)
def _(d, shape):
    width, length = shape[-1], int(d.rng.integers(1, 4))
    if width > 4:
        return None
    w, b = weight(d, (length, width, width)), weight(d, (length, width), 1)
    reverse = d.chance(0.4)

    def scanned(p, h):
        def step(h, given):
            return jnp.tanh(h @ given[0] + _over(given[1], h)), None

        return lax.scan(step, h, (w(p), b(p)), reverse=reverse)[0]

    return d.pick([
        scanned,
        lambda p, h: lax.fori_loop(0, length, lambda i, h: jnp.tanh(h @ w(p)[i]), h),
        lambda p, h: lax.fori_loop(0, length, lambda i, h: jnp.tanh(h @ w(p)[length - 1 - i]), h),
        lambda p, h: lax.fori_loop(
            0, length, lambda i, c: (jnp.tanh(c[0] @ c[1][i]), c[1]), (h, w(p))
        )[0],
        lambda p, h: lax.scan(
            lambda c, i: (jnp.tanh(c @ lax.dynamic_index_in_dim(w(p), i, keepdims=False)), c),
            h,
            jnp.arange(length),
        )[0],
    ])


@layer("loop in a loop", 1)
def _(d, shape):
    width = shape[-1]
    if width > 4:
        return None
    w, v = weight(d, (2, 2, width)), weight(d, (width, width), 1)

    def run(p, h):
        def outer(h, rows):
            return lax.scan(lambda h, row: (jnp.tanh(h * row[None] + h @ v(p)), None), h, rows)[
                0
            ], None

        return lax.scan(outer, h, w(p))[0]

    return run


@layer("one layer again and again", 1, 2, 3)
def _(d, shape):
    w, times = weight(d, (shape[-1], shape[-1])), int(d.rng.integers(1, 4))
    return d.pick([
        lambda p, h: lax.fori_loop(0, times, lambda _, h: jnp.tanh(h @ w(p)), h),
        lambda p, h: lax.scan(lambda h, _: (jnp.tanh(h @ w(p)), h), h, length=times)[0],
        lambda p, h: lax.scan(lambda h, _: (jnp.tanh(h @ w(p)), h), h, length=times)[1][-1] @ w(p),
        lambda p, h: lax.scan(
            lambda c, _: ((jnp.tanh(c[0] @ c[1]), 0.5 * c[1]), None), (h, w(p)), length=times
        )[0][0],
    ])


def _conv_shape(d: Draft, sizes: Sequence[int]) -> dict[str, Any] | None:
    for _ in range(30):
        draw = {
            "window": d.rng.integers(1, 4, len(sizes)),
            "window_strides": d.rng.integers(1, 3, len(sizes)),
            "padding": d.rng.integers(-1, 3, (len(sizes), 2)),
            "lhs_dilation": np.where(d.rng.random(len(sizes)) < 0.25, 2, 1),
            "rhs_dilation": np.where(d.rng.random(len(sizes)) < 0.25, 2, 1),
        }
        data = (np.array(sizes) - 1) * draw["lhs_dilation"] + 1 + draw["padding"].sum(1)
        window = (draw["window"] - 1) * draw["rhs_dilation"] + 1
        out = (data - window) // draw["window_strides"] + 1
        if np.all(data >= window) and np.all(out <= 4):
            return {name: given.tolist() for name, given in draw.items()}
    return None


@layer("convolution", 2, 3)
def _(d, shape):
    *sizes, channels = shape
    settings = _conv_shape(d, sizes)
    if settings is None:
        return None
    groups = d.pick([g for g in range(1, channels + 1) if channels % g == 0])
    window, out = settings.pop("window"), groups * int(d.rng.integers(1, 3))
    spatial = "HW"[: len(sizes)]
    lhs, rhs, result = (d.permutation(s + spatial) for s in ("NC", "IO", "NC"))
    if d.chance(0.3):
        lhs, rhs, result = f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"
    elif d.chance(0.3):
        lhs, rhs, result = f"NC{spatial}", f"OI{spatial}", f"NC{spatial}"
    extent = dict(zip(spatial, window, strict=True)) | {"I": channels // groups, "O": out}
    w = weight(d, [extent[letter] for letter in rhs])
    if all(given == 1 for given in settings["lhs_dilation"]) and d.chance(0.3):
        settings["padding"] = d.pick(["SAME", "SAME_LOWER"])
    d.note(f"{lhs},{rhs}->{result} groups={groups} {settings}")
    canonical = f"N{spatial}C"
    to_lhs = [canonical.index(letter) for letter in lhs]
    back = [result.index(letter) for letter in canonical]

    def run(p, h):
        out = lax.conv_general_dilated(
            jnp.transpose(h, to_lhs),
            w(p),
            dimension_numbers=(lhs, rhs, result),
            feature_group_count=groups,
            **settings,
        )
        return jnp.transpose(out, back)

    return run


@layer("transposed convolution", 2, 3)
def _(d, shape):
    *sizes, channels = shape
    if max(sizes) > 3:
        return None
    rank = len(sizes)
    window, strides = d.rng.integers(1, 4, rank).tolist(), d.rng.integers(1, 3, rank).tolist()
    numbers = ("NWC", "WIO", "NWC") if rank == 1 else ("NHWC", "HWIO", "NHWC")
    padding, swapped = d.pick(["SAME", "VALID"]), d.chance(0.3)
    last = (2, channels) if swapped else (channels, 2)
    w = weight(d, (*window, *last))
    return lambda p, h: lax.conv_transpose(
        h, w(p), strides, padding, dimension_numbers=numbers, transpose_kernel=swapped
    )


@layer("patches", 2, 3)
def _(d, shape):
    *sizes, channels = shape
    window = [min(2, s) for s in sizes]
    numbers = ("NWC", "WIO", "NWC") if len(sizes) == 1 else ("NHWC", "HWIO", "NHWC")
    w = weight(d, (channels * math.prod(window), 2))

    def run(p, h):
        cut = lax.conv_general_dilated_patches(
            h, window, window, "VALID", dimension_numbers=numbers
        )
        return cut @ w(p)

    return run


@layer("convolution without sharing", 2)
def _(d, shape):
    size, channels = shape
    if size < 2:
        return None
    w = weight(d, (size - 1, channels * 2, 2))
    return lambda p, h: lax.conv_general_dilated_local(
        h, w(p), (1,), "VALID", (2,), dimension_numbers=("NWC", "WIO", "NWC")
    )


@layer("data as the filter", 2)
def _(d, shape):
    w = weight(d, (1, shape[0] + 1, shape[1]))
    numbers = ("NWC", "WIO", "NWC")
    return lambda p, h: jax.vmap(
        lambda one: lax.conv_general_dilated(
            w(p), one[:, :, None], (1,), "VALID", dimension_numbers=numbers
        )[0]
    )(h)


@layer("pooled", 2, 3)
def _(d, shape):
    *sizes, _ = shape
    if min(sizes) < 2:
        return None
    w, by = weight(d, shape[-1:]), d.constant(*shape)
    window, strides = (1, *[2] * len(sizes), 1), (1, *[1] * len(sizes), 1)

    def by_max(p, h):
        return lax.reduce_window(
            _offset(h, by) * _over(w(p), h), -jnp.inf, lax.max, window, strides, "VALID"
        )

    def by_sum(p, h):
        return lax.reduce_window(h, 0.0, lax.add, window, strides, "VALID") * _over(w(p), h)

    return d.pick([by_max, by_sum])


@layer("cumulative along the tokens", 2)
def _(d, shape):
    w, decay, matrix = weight(d, shape), weight(d, shape[-1:], 1), d.constant(shape[-1], 2)

    def recurrence(p, h):
        rates = jnp.broadcast_to(jax.nn.sigmoid(decay(p)), h.shape)

        def join(left, right):
            return left[0] * right[0], left[1] * right[0] + right[1]

        return lax.associative_scan(join, (rates, h), axis=1)[1]

    return d.pick([
        lambda p, h: jnp.cumsum(h * w(p)[None], axis=1),
        lambda p, h: lax.cumlogsumexp(h + w(p)[None], axis=1),
        lambda p, h: lax.cummax(_product(h * 0.1 + w(p)[None], matrix), axis=1),
        recurrence,
    ])


@layer("sorted or chosen", 1, 2)
def _(d, shape):
    w, by = weight(d, shape), d.constant(*shape)
    best, matrix = max(1, shape[-1] - 1), d.constant(shape[-1], 3)
    return d.pick([
        lambda p, h: jnp.sort(_offset(h, by), axis=-1) * w(p)[None],
        lambda p, h: jnp.sort(_offset(h, by) + w(p)[None], axis=1),
        lambda p, h: lax.top_k(_offset(h, by) * w(p)[None] + 0.01 * by[None], best)[0],
        lambda p, h: _product(_offset(h, by) + w(p)[None], matrix).max(axis=-1, keepdims=True),
    ])


@layer("Fourier transforms", 1, 2)
def _(d, shape):
    w = weight(d, shape[-1:])
    return d.pick([
        lambda p, h: jnp.fft.ifft(jnp.fft.fft(h) * _over(jnp.fft.fft(w(p)), h)).real,
        lambda p, h: jnp.abs(jnp.fft.fft(h * _over(w(p), h)) + (1.5 + 0.5j)),
    ])


@layer("solved for", 1, 2)
def _(d, shape):
    width = shape[-1]
    if width > 4:
        return None
    w = weight(d, (width, width))

    def rows(h):
        return h.reshape(-1, width)

    return d.pick([
        lambda p, h: jnp.linalg.solve(3.0 * jnp.eye(width) + 0.4 * w(p), rows(h).T).T.reshape(
            h.shape
        ),
        lambda p, h: lax.linalg.triangular_solve(
            2.0 * jnp.eye(width) + 0.3 * w(p), rows(h), lower=True
        ).reshape(h.shape),
        lambda p, h: h @ jnp.linalg.inv(3.0 * jnp.eye(width) + 0.4 * w(p)),
    ])


@layer("gradient of an energy", 1, 2)
def _(d, shape):
    w = weight(d, (shape[-1], 3))

    def energy(p, h):
        return jnp.sum(jnp.sin(h @ w(p)) ** 2)

    return d.pick([
        lambda p, h: jax.grad(energy, argnums=1)(p, h),
        lambda p, h: jax.jvp(lambda h: jnp.tanh(h @ w(p)), (h,), (jnp.cos(h),))[1],
        lambda p, h: h - 0.3 * jax.vmap(jax.grad(partial(energy, p)))(h),
    ])


@layer("constant in the data", 1, 2)
def _(d, shape):
    w, v = weight(d, shape), weight(d, (shape[-1], shape[-1]), 1)
    return d.pick([
        lambda p, h: jnp.broadcast_to(jnp.tanh(w(p) @ v(p)), h.shape),
        lambda p, h: h + jnp.tanh(w(p) @ v(p)),
        lambda p, h: 0.0 * h + w(p)[None],
        lambda p, h: h * jnp.sum(w(p) ** 2),
    ])


@layer("cond on each example", 1, 2)
def _(d, shape):
    w, c, by = weight(d, (shape[-1], shape[-1])), 0.3 * d.constant(), d.constant(*shape)
    v = weight(d, shape[-1:], 1)

    def one(p, h):
        return lax.cond(
            jnp.sum(h * by) > c,
            lambda h: jnp.tanh(h @ w(p)),
            lambda h: 0.5 * h @ w(p).T + v(p),
            h,
        )

    over = d.pick([jax.vmap, lambda f: lambda h: lax.map(f, h)])
    return lambda p, h: over(partial(one, p))(h)


@layer("switch on one weight", 1, 2)
def _(d, shape):
    w, which = weight(d, (shape[-1], shape[-1])), int(d.rng.integers(3))
    weights_in = d.chance(0.5)

    def run(p, h):
        branches = [
            lambda w, h: h @ w,
            lambda w, h: jnp.tanh(h @ w.T) @ w,
            lambda w, h: h * w[0] + w[:, -1],
        ]
        if not weights_in:
            return lax.switch(which, [partial(f, w(p)) for f in branches], h)
        return lax.switch(jnp.int32(which), branches, w(p), h)

    return run


@layer("rule of one's own, perhaps a custom_vjp", 1, 2, 3)
def _(d, shape):
    w = weight(d, (shape[-1], shape[-1]))
    rule = d.pick([straight_through, reversed_gradient, own_softplus, surrogate_spike])
    return d.pick([
        lambda p, h: rule(h @ w(p)) + h,
        lambda p, h: jnp.tanh(rule(h) @ w(p)),
        lambda p, h: h @ rule(w(p)),
        lambda p, h: jax.jit(rule)(h @ w(p)),
    ])


# ---------------------------------------------------------------------------------------------
# Stages: functions of the parameters and the data that may change both
# ---------------------------------------------------------------------------------------------

Stage = Callable[[list, jax.Array], tuple[list, jax.Array]]
STAGES: dict[str, Callable[..., tuple[Stage, tuple[int, ...]] | None]] = {}


def stage_kind(name: str) -> Callable:
    def add(make: Callable) -> Callable:
        STAGES[name] = make
        return make

    return add


def stage(d: Draft, shape: tuple[int, ...], depth: int) -> tuple[Stage, tuple[int, ...]]:
    """Returns a stage for data of a shape, and the shape of what it gives."""
    if not depth or d.left <= 0:
        return _no_change_of_p(d, *one_layer(d, shape))
    name = d.pick(list(STAGES))
    d.note(f"[{name}:")
    made = STAGES[name](d, shape, depth - 1)
    if made is None:
        d.notes.pop()
        return stage(d, shape, depth - 1)
    d.note("]")
    return made


def one_layer(d: Draft, shape: tuple[int, ...]) -> tuple[Layer, tuple[int, ...]]:
    fitting = [name for name, (ranks, _) in LAYERS.items() if len(shape) in ranks]
    d.left -= 1
    if d.left < 0:
        fitting = ["dense", "bias", "scale"]
    while True:
        name = d.pick(fitting)
        d.note(name)
        made = LAYERS[name][1](d, shape)
        if made is not None:
            return _finished(d, made, shape)
        d.notes.pop()


def _finished(d: Draft, run: Layer, shape: Sequence[int]) -> tuple[Layer, tuple[int, ...]]:
    """Bounds the values of a layer and their number."""
    out = _shape_after(d, run, shape)
    which = d.pick(["tanh", "tanh", "gelu", "sin", "softplus", "relu"])
    by = d.constant(*out)
    bound = {
        "tanh": jnp.tanh,
        "gelu": lambda h: jax.nn.gelu(jnp.clip(h, -7.123, 7.123)),
        "sin": jnp.sin,
        "softplus": lambda h: jnp.tanh(jax.nn.softplus(h)),
        "relu": lambda h: jnp.tanh(jax.nn.relu(_offset(h, by))),
    }[which]
    d.note(which)
    if math.prod(out) <= MOST_FEATURES:
        return (lambda p, h: bound(run(p, h))), out
    keep = d.pick([0, len(out) - 1])
    axes = tuple(at + 1 for at in range(len(out)) if at != keep) if len(out) > 1 else ()
    thin = max(1, -(-out[keep] // 4))
    d.note("mean")
    return (
        lambda p, h: bound(run(p, h)).mean(axes)[:, ::thin],
        (-(-out[keep] // thin),),
    )


def _shape_after(d: Draft, run: Layer, shape: Sequence[int]) -> tuple[int, ...]:
    p = [jnp.asarray(leaf) for leaf in d.leaves]
    out = jax.eval_shape(run, p, jax.ShapeDtypeStruct((EXAMPLES, *shape), jnp.float64))
    return out.shape[1:]


def _no_change_of_p(d: Draft, run: Layer, shape: tuple[int, ...]) -> tuple[Stage, tuple[int, ...]]:
    return (lambda p, h: (p, run(p, h))), shape


def _data(run: Stage) -> Layer:
    return lambda p, h: run(p, h)[1]


def _to_shape(
    d: Draft, run: Stage, found: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[Stage, tuple[int, ...]]:
    """Makes a stage give data of a wanted shape."""
    if found == wanted:
        return run, wanted
    matrix = d.constant(math.prod(found), math.prod(wanted)) / np.sqrt(math.prod(found))

    def fitted(p, h):
        p, h = run(p, h)
        return p, jnp.tanh(h.reshape(len(h), -1) @ matrix).reshape(len(h), *wanted)

    return fitted, wanted


def _same_shape(d: Draft, shape: tuple[int, ...], depth: int) -> Stage:
    return _to_shape(d, *stage(d, shape, depth), shape)[0]


def _same_parameters(d: Draft, shape: tuple[int, ...], depth: int, count: int) -> list[Stage]:
    """Returns stages that use the same parameters, each in its way."""
    before, made = d.again, []
    for _ in range(count):
        made.append(_same_shape(d, shape, depth))
        d.again = 0.9
    d.again = before
    return made


@stage_kind("two")
def _(d, shape, depth):
    first, between = stage(d, shape, depth)
    second, out = stage(d, between, depth)
    return (lambda p, h: second(*first(p, h))), out


@stage_kind("wrapped")
def _(d, shape, depth):
    run, out = stage(d, shape, depth)
    name = _wrapper(d)
    wrap = WRAPS[name]
    ways = ["weights leave", "weights stay"]
    if name not in OF_THEIR_ARGUMENTS:
        ways.append("weights closed over")
    way = d.pick(ways)
    d.note(f"{name}, {way}")
    if way == "weights leave":
        return (lambda p, h: wrap(run)(p, h)), out
    if way == "weights stay":
        return (lambda p, h: (p, wrap(_data(run))(p, h))), out
    return (lambda p, h: (p, wrap(lambda h: run(p, h)[1])(h))), out


@stage_kind("wrapped again")
def _(d, shape, depth):
    return STAGES["wrapped"](d, shape, depth)


@stage_kind("weights changed for what follows")
def _(d, shape, depth):
    known = [at for at, leaf in enumerate(d.leaves) if _is_float(leaf)]
    if not known:
        return None
    at = d.pick(known)
    # Once changed, a parameter stands for something else: the sizes of the others must not.
    own = Draft(d.rng)
    own.leaves, own.notes = [d.leaves[at]], d.notes
    get = weight(own, d.leaves[at].shape, 2)
    extra = [d.parameter(*leaf.shape) for leaf in own.leaves[1:] if _is_float(leaf)]
    if len(extra) != len(own.leaves) - 1:
        return None
    name = d.pick(["none", _wrapper(d)])
    wrap = WRAPS.get(name, lambda f: f)
    d.note(name)

    def run(p, h):
        def changed(p):
            new = get([p[at], *(p[more] for more in extra)])
            return [new if other == at else leaf for other, leaf in enumerate(p)]

        return wrap(changed)(p), h

    after, out = stage(d, shape, depth)
    return (lambda p, h: after(*run(p, h))), out


@stage_kind("branches")
def _(d, shape, depth):
    count = int(d.rng.integers(2, 4))
    branches = _same_parameters(d, shape, depth, count)
    chosen = int(d.rng.integers(count))
    leave, inputs = d.chance(0.4), d.chance(0.6)

    def run(p, h):
        made = branches if leave else [_data(branch) for branch in branches]
        given = (p, h)
        if not inputs:
            made, given = [lambda branch=branch: branch(p, h) for branch in made], ()
        if count == 2:
            out = lax.cond(jnp.array(chosen == 0), *made, *given)
        else:
            out = lax.switch(jnp.int32(chosen), made, *given)
        return out if leave else (p, out)

    return run, shape


@stage_kind("branches on each example")
def _(d, shape, depth):
    count = int(d.rng.integers(2, 4))
    branches = _same_parameters(d, shape, depth, count)
    by, over = d.constant(*shape), d.pick(["vmap", "map"])
    d.note(over)

    def run(p, h):
        def one(h):
            score = jnp.sum(h * by) * 2.0 + 0.2345
            made = [lambda h, b=b: b(p, h[None])[1][0] for b in branches]
            if count == 2:
                return lax.cond(score > 0, *made, h)
            return lax.switch(jnp.floor(score).astype(jnp.int32) % 3, made, h)

        return p, jax.vmap(one)(h) if over == "vmap" else lax.map(one, h)

    return run, shape


@stage_kind("scan")
def _(d, shape, depth):
    run = _same_shape(d, shape, depth)
    length, way = int(d.rng.integers(1, 4)), d.pick(["const", "carry", "sliced", "leave"])
    returned = d.pick(["carry", "last of all", "sum of all"])
    reverse = d.chance(0.3)
    d.note(f"{length}, {way}, {returned}")

    def scanned(p, h):
        stacked = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * length), p)
        falling = 1.0 - 0.3 * jnp.arange(length)
        stacked = [
            leaf * falling.reshape(-1, *[1] * (leaf.ndim - 1)) if _is_float(leaf) else leaf
            for leaf in stacked
        ]
        if way == "const":

            def step(h, _):
                new = run(p, h)[1]
                return new, h + new

            last, every = lax.scan(step, h, length=length, reverse=reverse)
            q = p
        elif way == "carry":

            def step(carry, _):
                q, new = run(*carry)
                return (q, new), carry[1] + new

            (q, last), every = lax.scan(step, (p, h), length=length, reverse=reverse)
        else:

            def step(h, q):
                q, new = run(q, h)
                return new, (h + new, q)

            last, (every, left) = lax.scan(step, h, stacked, reverse=reverse)
            q = [leaf[0] for leaf in left] if way == "leave" else p
        if returned == "carry":
            return q, last
        return q, jnp.tanh(every[-1] if returned == "last of all" else every.sum(0))

    return scanned, shape


@stage_kind("fori_loop")
def _(d, shape, depth):
    first, second = _same_parameters(d, shape, depth, 2)
    steps, way = int(d.rng.integers(1, 4)), d.pick(["one", "carried", "by turns", "chosen"])
    d.note(way)

    def body(i, carry, p=None):
        q, h = carry if p is None else (p, carry)
        if way == "by turns":
            return lax.cond(i % 2 == 0, first, second, q, h)
        if way == "chosen":
            a, b = first(q, h)[1], second(q, h)[1]
            return q, jnp.where(i == 1, a, b)
        return first(q, h)

    def run(p, h):
        if way == "one":
            return p, lax.fori_loop(0, steps, lambda i, h: body(i, h, p)[1], h)
        return lax.fori_loop(0, steps, body, (p, h))

    return run, shape


@stage_kind("beside itself")
def _(d, shape, depth):
    first, second = _same_parameters(d, shape, depth, 2)
    how = d.pick([
        lambda h, a, b: h + a,
        lambda h, a, b: a * b,
        lambda h, a, b: a - b,
        lambda h, a, b: jnp.where(h > 0.0321, a, b),
        lambda h, a, b: a + lax.stop_gradient(b),
    ])

    def run(p, h):
        return p, how(h, first(p, h)[1], second(p, h)[1])

    return run, shape


@stage_kind("reshaped")
def _(d, shape, depth):
    size = math.prod(shape)
    ways = [(size,), shape[::-1], *((a, size // a) for a in (2, 3) if size % a == 0)]
    wanted = d.pick([way for way in ways if way])
    moved = len(shape) > 1 and d.chance(0.5)

    def into(h):
        h = jnp.swapaxes(h, 1, -1) if moved else h
        return h.reshape(len(h), *wanted)

    run, out = stage(d, wanted, depth)
    return (lambda p, h: run(p, into(h))), out


# How examples are treated


@stage_kind("folded into the batch")
def _(d, shape, depth):
    if len(shape) < 2:
        return None
    outer, inner = shape[:-1], shape[-1:]
    run, out = stage(d, inner, depth)
    leading = d.chance(0.5)

    def folded(p, h):
        n = len(h)
        if leading:  # tokens before examples
            h = jnp.moveaxis(h, 0, -2)
            p, h = run(p, h.reshape(-1, *inner))
            return p, jnp.moveaxis(h.reshape(*outer, n, *out), len(outer), 0)
        p, h = run(p, h.reshape(-1, *inner))
        return p, h.reshape(n, *outer, *out)

    return folded, (*outer, *out)


@stage_kind("examples mapped")
def _(d, shape, depth):
    run, out = stage(d, shape, depth)
    way = d.pick(["vmap", "map", "map in pairs", "scan", "fori_loop", "vmap from the back"])
    d.note(way)

    def mapped(p, h):
        def one(h):
            return run(p, h[None])[1][0]

        if way == "vmap":
            return p, jax.vmap(one)(h)
        if way == "vmap from the back":
            back = jax.vmap(one, in_axes=-1, out_axes=-1)(jnp.moveaxis(h, 0, -1))
            return p, jnp.moveaxis(back, -1, 0)
        if way == "scan":
            return p, lax.scan(lambda c, h: (c, one(h)), jnp.zeros(()), h)[1]
        if way == "fori_loop":
            zeros = jnp.zeros((len(h), *out))
            return p, lax.fori_loop(0, len(h), lambda i, c: c.at[i].set(one(h[i])), zeros)
        return p, lax.map(one, h, batch_size=2 if way == "map in pairs" else None)

    return mapped, out


@stage_kind("examples moved and put back")
def _(d, shape, depth):
    run, out = stage(d, shape, depth)
    way = d.pick(["roll", "gather", "scatter", "product", "flip", "traced roll", "sort", "concat"])
    d.note(way)

    def moved(p, h):
        n = len(h)
        order = (np.arange(n) + 1) % n
        back = np.argsort(order)
        if way == "roll":
            p, h = run(p, jnp.roll(h, 1, 0))
            return p, jnp.roll(h, -1, 0)
        if way == "gather":
            p, h = run(p, h[order])
            return p, h[back]
        if way == "scatter":
            p, h = run(p, jnp.zeros_like(h).at[order].set(h))
            return p, jnp.zeros_like(h).at[back].set(h)
        if way == "product":
            matrix = np.eye(n)[order]
            p, h = run(p, jnp.tensordot(matrix, h, 1))
            return p, jnp.tensordot(matrix.T, h, 1)
        if way == "flip":
            p, h = run(p, h[::-1])
            return p, jnp.flip(h, 0)
        if way == "traced roll":
            by = jnp.int32(3)
            p, h = run(p, jnp.roll(h, by, 0))
            return p, jnp.roll(h, -by, 0)
        if way == "sort":
            keys = jnp.asarray(order)
            p, h = run(p, h[jnp.argsort(keys)])
            return p, h[jnp.argsort(jnp.argsort(keys))]
        p, h = run(p, jnp.concatenate([h[1:], h[:1]]))
        return p, jnp.concatenate([h[-1:], h[:-1]])

    return moved, out


@stage_kind("examples beside copies of theirs")
def _(d, shape, depth):
    run, out = stage(d, shape, depth)
    way = d.pick(["siamese", "repeated", "padded", "split", "identity", "unused half"])
    d.note(way)

    def doubled(p, h):
        n = len(h)
        if way == "siamese":
            p, h = run(p, jnp.concatenate([h, 0.5 * h]))
            return p, h[:n] - 0.3 * h[n:]
        if way == "repeated":
            by = jnp.asarray([[1.0], [-0.7]])
            twice = (h.reshape(n, 1, -1) * by).reshape(2 * n, *h.shape[1:])
            p, h = run(p, twice)
            return p, h.reshape(n, 2, *out).sum(1)
        if way == "padded":
            p, h = run(p, jnp.pad(h, [(1, 2)] + [(0, 0)] * (h.ndim - 1)))
            return p, h[1:-2]
        if way == "split" and n > 1:
            return p, jnp.concatenate([run(p, h[:1])[1], run(p, h[1:])[1]])
        if way == "identity":
            p, h = run(p, h)
            return p, jnp.einsum("nm,m...->n...", jnp.eye(n), h)
        if way == "unused half":
            p, h = run(p, jnp.stack([h, jnp.cos(h)]).reshape(2 * n, *h.shape[1:]))
            return p, h.reshape(2, n, *out)[1]
        return run(p, h)

    return doubled, out


# ---------------------------------------------------------------------------------------------
# What goes in, what comes out, and the tree of parameters
# ---------------------------------------------------------------------------------------------


def _inputs(d: Draft) -> tuple[jax.Array, Layer, tuple[int, ...]]:
    """Returns inputs, the function that makes numbers of them, and their shape."""
    kind = d.pick(["vectors", "vectors", "tokens", "tokens", "images", "words", "small", "truth"])
    d.note(kind)
    if kind == "words":
        ids = d.rng.integers(0, 5, (EXAMPLES, 3)).astype(d.pick([np.int32, np.int64, np.uint8]))
        table = weight(d, (5, 2))
        return jnp.asarray(ids), (lambda p, x: table(p)[x]), (3, 2)
    if kind in ("small", "truth"):
        x = d.rng.integers(0, 2 if kind == "truth" else 100, (EXAMPLES, 4))
        x = x.astype(bool if kind == "truth" else d.pick([np.uint8, np.int8]))
        by, gain = d.constant(4), 1.0 if kind == "truth" else 0.02
        return jnp.asarray(x), (lambda p, x: x.astype(jnp.float64) * gain + 0.3 * by), (4,)
    shape = {
        "vectors": (int(d.rng.integers(2, 5)),),
        "tokens": (int(d.rng.integers(2, 4)), int(d.rng.integers(2, 4))),
        "images": (3, int(d.rng.integers(2, 4)), int(d.rng.integers(1, 3))),
    }[kind]
    return jnp.asarray(d.constant(EXAMPLES, *shape)), (lambda p, x: x), shape


def _readout(d: Draft, shape: tuple[int, ...]) -> tuple[Callable, tuple[int, ...]]:
    if math.prod(shape) <= 6 and d.chance(0.5):
        return (lambda h: h), shape
    how = d.pick(["projected", "summed", "mean", "one number"])
    d.note(how)
    matrix = d.constant(math.prod(shape), 2)
    return {
        "projected": lambda h: h.reshape(len(h), -1) @ matrix,
        "summed": lambda h: h.sum(tuple(range(1, h.ndim - 1))) if h.ndim > 2 else h,
        "mean": lambda h: h.mean(tuple(range(2, h.ndim))) if h.ndim > 2 else h,
        "one number": lambda h: h.reshape(len(h), -1) @ matrix[:, 0],
    }[how], shape


class Pair(NamedTuple):
    """A node that is none of the usual ones."""

    first: Any
    second: Any


def _tree(d: Draft) -> tuple[Any, Any]:
    """Returns a tree of places in the list of parameters, and the tree of parameters."""
    if d.chance(0.2):
        d.leaves.append(d.pick([np.int32(7), np.array([True, False]), np.arange(3)]))
    if len(d.leaves) == 1 and d.chance(0.5):
        return 0, jnp.asarray(d.leaves[0])
    kind = d.pick(["dict", "list", "tuple", "named", "nested", "nested", "numbered", "slashes"])
    d.note(kind)
    places: Any = list(range(len(d.leaves)))
    if kind == "tuple":
        places = (*places, ())
    elif kind == "named":
        places = Pair(places, {"nothing": {}, "none": None})
    elif kind == "dict":
        places = {f"layer_{at}": at for at in reversed(places)} | {"empty": {}}
    elif kind == "numbered":
        places = {at * 7 % 11 + 11 * at: at for at in places}
    elif kind == "slashes":
        half = len(places) // 2
        places = {"a/b": {"c": places[:half]}, "a": {"b": {"c": places[half:]}}}
    elif kind == "nested":
        for _ in range(int(d.rng.integers(1, 4))):
            cut = int(d.rng.integers(len(places) + 1))
            rest, inner = places[:cut], places[cut:]
            inner = d.pick([inner, tuple(inner), Pair({}, inner), {"z": inner, "b": {}}])
            places = [*rest, inner]
    leaves = [jnp.asarray(leaf) for leaf in d.leaves]
    return places, jax.tree.map(lambda at: leaves[at], places)


def _collect(places: Any, params: Any) -> list:
    """Returns the list of parameters, and sees to it that the tree is of the right kinds."""
    found: dict[int, Any] = {}

    def walk(place, given):
        if isinstance(place, int):
            found[place] = given
            return
        assert type(place) is type(given), (type(place), type(given))
        if isinstance(place, dict):
            assert place.keys() == given.keys(), (place.keys(), given.keys())
            for key, inner in place.items():
                walk(inner, given[key])
        elif place is not None:
            for inner, inner_given in zip(place, given, strict=True):
                walk(inner, inner_given)

    walk(places, params)
    return [found[at] for at in range(len(found))]
