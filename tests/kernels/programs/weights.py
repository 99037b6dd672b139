"""Weights: functions of the list of parameters, changed before they meet data.

``SAME`` change a weight to another of its shape: each is ``(draft, shape, axis) -> function``, or
None where it does not suit the shape. ``OTHER`` make a weight of one or more of other shapes.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.draft import Draft, product
from tests.kernels.programs.rules import WRAPS, straight_through, wrapper

Shape = tuple[int, ...]
Change = Callable[[jax.Array], jax.Array]
Get = Callable[[list], jax.Array]

NARROW = "as float32 and back"


def weight(d: Draft, shape: Sequence[int], depth: int = 2) -> Get:
    """Returns a weight of a shape: a parameter, or something made of parameters."""
    shape = tuple(int(s) for s in shape)
    if depth and d.chance(0.6):
        name = d.pick([*SAME, *OTHER])
        d.note(name)
        get = OTHER[name](d, shape, depth - 1) if name in OTHER else _same(name, d, shape, depth)
        if get is not None:
            return get
        d.notes.pop()
    return _source(d, shape)


def positive(d: Draft, shape: Sequence[int]) -> Get:
    get = weight(d, shape, 1)
    how = d.pick([
        lambda w: jnp.exp(0.3 * w),
        lambda w: jnp.abs(w) + 0.3,
        lambda w: w**2 + 0.3,
        lambda w: jax.nn.softplus(w),
    ])
    return lambda p: how(get(p))


def _source(d: Draft, shape: Shape) -> Get:
    known = d.known()
    if known and (not d.room(*shape) or d.chance(d.again)):
        return _known_before(d, shape, known)
    axis = _axis(d, shape)
    if not shape or not d.chance(0.2) or not d.room(*shape, 2):
        at = d.parameter(*shape)
        return lambda p: p[at]
    wide = list(shape)
    wide[axis] += d.upto(2)
    at, start = d.parameter(*wide), d.upto(wide[axis] - shape[axis], 0)
    stop = start + shape[axis]
    how = d.pick_noted({
        "part by split": lambda w: jnp.split(w, [start, stop], axis)[1],
        "part by dynamic slice": lambda w: lax.dynamic_slice_in_dim(
            w, jnp.int32(start), shape[axis], axis
        ),
        "part by take": lambda w: jnp.take(w, np.arange(start, stop), axis),
        "part by slice": lambda w: lax.slice_in_dim(w, start, stop, 1, axis),
    })
    return lambda p: how(p[at])


def _known_before(d: Draft, shape: Shape, known: list[int]) -> Get:
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
    size = math.prod(shape)
    times = -(-size // d.leaves[at].size)
    start = d.upto(times * d.leaves[at].size - size, 0)
    return lambda p: jnp.tile(p[at].reshape(-1), times)[start : start + size].reshape(shape)


def _axis(d: Draft, shape: Shape) -> int:
    return d.upto(len(shape) - 1, 0) if shape else 0


def _with(shape: Shape, axis: int, length: int) -> Shape:
    return tuple(length if at == axis else s for at, s in enumerate(shape))


def _same(name: str, d: Draft, shape: Shape, depth: int) -> Get | None:
    ranks, make = SAME[name]
    if len(shape) < ranks:
        return None
    how = make(d, shape, _axis(d, shape))
    if how is None:
        return None
    get = weight(d, shape, depth - 1)
    return lambda p: how(get(p))


# Changes of one weight to another of its shape


def _masked(d: Draft, shape: Shape, _: int) -> Change:
    mask = d.rng.random(shape) > 0.3
    return d.pick([lambda w: w * mask.astype(float), lambda w: jnp.where(mask, w, 0.0)])


def _scaled(d: Draft, shape: Shape, _: int) -> Change:
    gain = 0.3 + d.rng.random()
    return d.pick([lambda w: w * gain, lambda w: w / gain, lambda w: -gain * w])


def _convolved(d: Draft, shape: Shape, _: int) -> Change:
    taps, numbers = d.constant(3, 1, 1), ("NWC", "WIO", "NWC")

    def convolved(w):
        rows = w.reshape(-1, w.shape[-1], 1)
        out = lax.conv_general_dilated(rows, taps, (1,), "SAME", dimension_numbers=numbers)
        return out.reshape(w.shape)

    return convolved


def _elementwise(d: Draft, shape: Shape, _: int) -> Change:
    by = d.constant(*shape)
    return d.pick_noted({
        "abs": jnp.abs,
        "exp": lambda w: jnp.exp(0.4 * w),
        "sin": jnp.sin,
        "square": lambda w: w * w,
        "cube": lambda w: w**3,
        "sigmoid": jax.nn.sigmoid,
        "relu": lambda w: jax.nn.relu(w + by),
        "clip": lambda w: jnp.clip(w, -0.71, 0.83),
        "sign times itself": lambda w: jnp.sign(w) * w,
        "round and its rest": lambda w: w - jnp.round(w),
        "erf": lax.erf,
        "rsqrt": lambda w: lax.rsqrt(w**2 + 0.5),
        "log1p": lambda w: jnp.log1p(w**2),
    })


def _normed(d: Draft, shape: Shape, axis: int) -> Change:
    def standardised(w):
        return (w - w.mean(axis, keepdims=True)) / jnp.sqrt(w.var(axis, keepdims=True) + 0.2)

    return d.pick([
        lambda w: w / jnp.sqrt(0.1 + jnp.sum(w**2, axis, keepdims=True)),
        lambda w: w / jnp.linalg.norm(w),
        lambda w: 2.0 * jax.nn.softmax(w, axis=axis),
        standardised,
    ])


def _stopped(d: Draft, shape: Shape, _: int) -> Change:
    return d.pick([
        lambda w: w * lax.stop_gradient(jnp.tanh(w)),
        lambda w: w / lax.stop_gradient(1.0 + jnp.abs(w).max()),
        lambda w: 2.0 * w - lax.stop_gradient(w),
    ])


def _cumulative(d: Draft, shape: Shape, axis: int) -> Change:
    return d.pick_noted({
        "sum": partial(lax.cumsum, axis=axis, reverse=d.chance(0.5)),
        "product": partial(lax.cumprod, axis=axis),
        "logsumexp": partial(lax.cumlogsumexp, axis=axis),
    })


def _turned(d: Draft, shape: Shape, axis: int) -> Change:
    return d.pick([
        lambda w: jnp.flip(w, axis),
        lambda w: jnp.roll(w, 1, axis),
        lambda w: jnp.roll(w, jnp.int32(2), axis),
        lambda w: w[tuple(slice(None, None, -1) for _ in shape)],
    ])


def _sorted(d: Draft, shape: Shape, axis: int) -> Change:
    by = d.constant(*shape)
    return d.pick([
        lambda w: jnp.sort(w + by, axis=axis),
        lambda w: jnp.take_along_axis(w, jnp.argsort(w + by, axis=axis), axis=axis),
    ])


def _square(d: Draft, shape: Shape, _: int) -> Change | None:
    if shape[0] != shape[1] or len(shape) > 2:
        return None
    return d.pick([
        lambda w: w + w.T,
        lambda w: w @ w.T,
        jnp.tril,
        lambda w: jnp.triu(w, 1) - jnp.triu(w, 1).T,
        lambda w: lax.scan(lambda c, _: (jnp.tanh(c @ w), None), w, length=2)[0],
        lambda w: lax.fori_loop(0, 2, lambda _, c: jnp.tanh(c @ w), jnp.eye(len(w))),
        lambda w: lax.map(lambda row: row * row.sum(), w),
        lambda w: jax.vmap(lambda row, col: row * col, in_axes=(0, 1))(w, w),
        lambda w: jnp.linalg.matrix_power(w, 2),
    ])


SAME: dict[str, tuple[int, Callable[[Draft, Shape, int], Change | None]]] = {
    "masked": (0, _masked),
    "scaled": (0, _scaled),
    "convolved with a filter": (1, _convolved),
    NARROW: (0, lambda *_: lambda w: w.astype(jnp.float32).astype(jnp.float64)),
    "elementwise": (0, _elementwise),
    "normed": (1, _normed),
    "a part of it constant": (0, _stopped),
    "cumulative": (1, _cumulative),
    "turned": (1, _turned),
    "sorted": (1, _sorted),
    "of itself and its transpose, or in a loop": (2, _square),
    "rounded, by a custom_vjp": (0, lambda *_: straight_through),
}
"""With the fewest axes for which there is one."""


# Weights made of others


def _inside(d: Draft, shape: Shape, depth: int) -> Get:
    get, name = weight(d, shape, depth), wrapper(d)
    d.note(name)
    return lambda p: WRAPS[name](get)(p)


def _gained(d: Draft, shape: Shape, depth: int) -> Get:
    axis = _axis(d, shape)
    thin = [s if at == axis else 1 for at, s in enumerate(shape)]
    get, gain = weight(d, shape, depth), weight(d, d.pick([thin, ()]), 0)
    return lambda p: get(p) * gain(p)


def _projected(d: Draft, shape: Shape, depth: int) -> Get | None:
    if not shape:
        return None
    axis, rank = _axis(d, shape), d.upto(3)
    get, matrix = weight(d, _with(shape, axis, rank), depth), d.constant(rank, shape[axis]) * 0.7
    return lambda p: jnp.moveaxis(jnp.moveaxis(get(p), axis, -1) @ matrix, -1, axis)


def _gathered(d: Draft, shape: Shape, depth: int) -> Get | None:
    if not shape:
        return None
    axis, wide = _axis(d, shape), d.upto(4)
    get = weight(d, _with(shape, axis, wide), depth)
    rows = d.rng.integers(0, wide, shape[axis]).astype(np.int32)
    if d.chance(0.5):
        return lambda p: jnp.take(get(p), rows, axis=axis)
    d.note("by an index among the parameters")
    d.leaves.append(rows)
    at = len(d.leaves) - 1
    return lambda p: jnp.take(get(p), p[at], axis=axis)


def _of_two(d: Draft, shape: Shape, depth: int) -> Get:
    a, b = weight(d, shape, depth), weight(d, shape, 0)
    return d.pick([
        lambda p: a(p) + b(p),
        lambda p: a(p) - 0.5 * b(p),
        lambda p: a(p) * b(p),
        lambda p: a(p) + lax.stop_gradient(b(p)),
        lambda p: jnp.maximum(a(p), b(p) + 0.0123),
    ])


def _low_rank(d: Draft, shape: Shape, depth: int) -> Get | None:
    if len(shape) != 2:
        return None
    rank, get = d.upto(2), weight(d, shape, depth)
    a, b = weight(d, (shape[0], rank), depth), weight(d, (rank, shape[1]), 0)
    return d.pick([lambda p: a(p) @ b(p), lambda p: get(p) + 0.5 * (a(p) @ b(p))])


def _outer(d: Draft, shape: Shape, depth: int) -> Get | None:
    if len(shape) < 2:
        return None
    a, b = weight(d, shape[:1], depth), weight(d, shape[1:], 0)
    return lambda p: jnp.tensordot(a(p), b(p), 0)


def _transposed(d: Draft, shape: Shape, depth: int) -> Get | None:
    if len(shape) < 2:
        return None
    order = d.rng.permutation(len(shape))
    get, back = weight(d, [shape[at] for at in order], depth), np.argsort(order)
    return lambda p: jnp.transpose(get(p), back)


def _reshaped(d: Draft, shape: Shape, depth: int) -> Get:
    get = weight(d, d.pick([(math.prod(shape),), shape[::-1], (1, *shape)]), depth)
    return lambda p: get(p).reshape(shape)


def _padded(d: Draft, shape: Shape, depth: int) -> Get | None:
    if not shape or shape[-1] < 2:
        return None
    low = d.upto(1, 0)
    inner, width = (*shape[:-1], shape[-1] - 1), [(0, 0)] * (len(shape) - 1) + [(low, 1 - low)]
    get, mode = weight(d, inner, depth), d.pick(["constant", "edge"])
    return lambda p: jnp.pad(get(p), width, mode=mode)


def _joined(d: Draft, shape: Shape, depth: int) -> Get | None:
    wide = [at for at, s in enumerate(shape) if s > 1]
    if not wide:
        return None
    axis = d.pick(wide)
    first = d.upto(shape[axis] - 1)
    a = weight(d, _with(shape, axis, first), depth)
    b = weight(d, _with(shape, axis, shape[axis] - first), 0)
    return lambda p: jnp.concatenate([a(p), b(p)], axis)


def _repeated(d: Draft, shape: Shape, depth: int) -> Get | None:
    if not shape:
        return None
    axis = _axis(d, shape)
    get, times = weight(d, _with(shape, axis, 1), depth), shape[axis]
    return d.pick([
        lambda p: jnp.repeat(get(p), times, axis),
        lambda p: jnp.broadcast_to(get(p), shape),
        lambda p: jnp.concatenate([get(p)] * times, axis),
        lambda p: jnp.tile(get(p), _with((1,) * len(shape), axis, times)),
    ])


def _of_a_vector(d: Draft, shape: Shape, depth: int) -> Get | None:
    if len(shape) != 2:
        return None
    get = weight(d, shape[1:], depth)
    places = (np.arange(shape[1]) - np.arange(shape[0])[:, None]) % shape[1]
    ways = [lambda p: get(p)[places], lambda p: jnp.eye(*shape) * get(p)]
    if shape[0] == shape[1]:
        ways.append(lambda p: jnp.diag(get(p)))
    return d.pick(ways)


def _set_in_part(d: Draft, shape: Shape, depth: int) -> Get | None:
    if not shape:
        return None
    get, part, at = weight(d, shape, depth), weight(d, shape[1:], 0), d.upto(shape[0] - 1, 0)
    return d.pick([
        lambda p: get(p).at[at].set(part(p)),
        lambda p: get(p).at[at].add(part(p)),
        lambda p: get(p).at[np.array([at, at])].add(0.5 * part(p)),
        lambda p: lax.dynamic_update_index_in_dim(get(p), part(p), jnp.int32(at), 0),
    ])


def _reduced(d: Draft, shape: Shape, depth: int) -> Get:
    get, matrix = weight(d, (2, *shape), depth), d.constant(2, 2)
    judge, by = weight(d, (2,), 0), d.constant(2)
    return d.pick([
        lambda p: get(p).sum(0),
        lambda p: get(p).prod(0),
        lambda p: product(jnp.moveaxis(get(p), 0, -1), matrix).max(-1),
        lambda p: jax.nn.logsumexp(get(p), axis=0),
        lambda p: jnp.einsum("a...,a->...", get(p), np.array([0.7, -0.4])),
        lambda p: get(p)[jnp.argmax(judge(p) + by)],
    ])


def _by_network(d: Draft, shape: Shape, depth: int) -> Get:
    get, inner = weight(d, (2, math.prod(shape)), depth), weight(d, (1, 2), 0)
    return lambda p: (jnp.tanh(inner(p)) @ get(p)).reshape(shape)


OTHER: dict[str, Callable[[Draft, Shape, int], Get | None]] = {
    "inside": _inside,
    "learnt gain": _gained,
    "projection": _projected,
    "gathered": _gathered,
    "of two": _of_two,
    "low rank": _low_rank,
    "an outer product": _outer,
    "transposed": _transposed,
    "reshaped": _reshaped,
    "padded": _padded,
    "two joined": _joined,
    "repeated": _repeated,
    "a circulant or diagonal": _of_a_vector,
    "set in a part": _set_in_part,
    "reduced": _reduced,
    "a small network of its own": _by_network,
}
