"""Stages: functions of the parameters and the data that may change both."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.draft import EXAMPLES, Draft, Table, is_float, offset
from tests.kernels.programs.layers import Layer
from tests.kernels.programs.rules import OF_THEIR_ARGUMENTS, WRAPS, wrapper
from tests.kernels.programs.weights import weight

MOST_FEATURES = 16

Stage = Callable[[list, jax.Array], tuple[list, jax.Array]]
STAGES = Table()


def stage(d: Draft, shape: tuple[int, ...], depth: int) -> tuple[Stage, tuple[int, ...]]:
    """Returns a stage for data of a shape, and the shape of what it gives."""
    if not depth or d.left <= 0:
        return no_change_of_p(d, *one_layer(d, shape))
    name = d.pick(list(d.stages))
    d.note(f"[{name}:")
    made = d.stages[name][1](d, shape, depth - 1)
    if made is None:
        d.notes.pop()
        return stage(d, shape, depth - 1)
    d.note("]")
    return made


def one_layer(d: Draft, shape: tuple[int, ...]) -> tuple[Layer, tuple[int, ...]]:
    fitting = [name for name, (ranks, _) in d.layers.items() if len(shape) in ranks]
    d.left -= 1
    if d.left < 0:
        fitting = ["dense", "bias", "scale"]
    while True:
        name = d.pick(fitting)
        d.note(name)
        made = d.layers[name][1](d, shape)
        if made is not None:
            return finished(d, made, shape)
        d.notes.pop()


def finished(d: Draft, run: Layer, shape: Sequence[int]) -> tuple[Layer, tuple[int, ...]]:
    """Bounds the values of a layer and their number."""
    out = _shape_after(d, run, shape)
    which = d.pick(["tanh", "tanh", "gelu", "sin", "softplus", "relu"])
    by = d.constant(*out)
    bound = {
        "tanh": jnp.tanh,
        "gelu": lambda h: jax.nn.gelu(jnp.clip(h, -7.123, 7.123)),
        "sin": jnp.sin,
        "softplus": lambda h: jnp.tanh(jax.nn.softplus(h)),
        "relu": lambda h: jnp.tanh(jax.nn.relu(offset(h, by))),
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


def no_change_of_p(d: Draft, run: Layer, shape: tuple[int, ...]) -> tuple[Stage, tuple[int, ...]]:
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


@STAGES.add("two")
def _(d, shape, depth):
    first, between = stage(d, shape, depth)
    second, out = stage(d, between, depth)
    return (lambda p, h: second(*first(p, h))), out


@STAGES.add("wrapped")
def _(d, shape, depth):
    run, out = stage(d, shape, depth)
    name = wrapper(d)
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


@STAGES.add("wrapped again")
def _(d, shape, depth):
    return STAGES["wrapped"][1](d, shape, depth)


@STAGES.add("weights changed for what follows")
def _(d, shape, depth):
    known = d.known()
    if not known:
        return None
    at = d.pick(known)
    # Once changed, a parameter stands for something else: the sizes of the others must not.
    own = Draft(d.rng)
    own.leaves, own.notes = [d.leaves[at]], d.notes
    get = weight(own, d.leaves[at].shape, 2)
    extra = [d.parameter(*leaf.shape) for leaf in own.leaves[1:] if is_float(leaf)]
    if len(extra) != len(own.leaves) - 1:
        return None
    name = d.pick(["none", wrapper(d)])
    wrap = WRAPS.get(name, lambda f: f)
    d.note(name)

    def run(p, h):
        def changed(p):
            new = get([p[at], *(p[more] for more in extra)])
            return [new if other == at else leaf for other, leaf in enumerate(p)]

        return wrap(changed)(p), h

    after, out = stage(d, shape, depth)
    return (lambda p, h: after(*run(p, h))), out


@STAGES.add("branches")
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


@STAGES.add("branches on each example")
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


@STAGES.add("scan")
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
            leaf * falling.reshape(-1, *[1] * (leaf.ndim - 1)) if is_float(leaf) else leaf
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


@STAGES.add("fori_loop")
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


@STAGES.add("beside itself")
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


@STAGES.add("reshaped")
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
