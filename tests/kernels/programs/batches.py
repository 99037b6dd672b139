"""Stages that treat the examples in another way: folded, mapped, moved, copied."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.draft import Table
from tests.kernels.programs.stages import stage

STAGES = Table()


@STAGES.add("folded into the batch")
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


@STAGES.add("examples mapped")
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


Move = Callable[[jax.Array], jax.Array]


def _circle(n: int) -> np.ndarray:
    return (np.arange(n) + 1) % n


def _matrix(n: int) -> np.ndarray:
    return np.eye(n)[_circle(n)]


MOVES: dict[str, tuple[Move, Move]] = {
    "roll": (lambda h: jnp.roll(h, 1, 0), lambda h: jnp.roll(h, -1, 0)),
    "traced roll": (
        lambda h: jnp.roll(h, jnp.int32(3), 0),
        lambda h: jnp.roll(h, -jnp.int32(3), 0),
    ),
    "gather": (lambda h: h[_circle(len(h))], lambda h: h[np.argsort(_circle(len(h)))]),
    "scatter": (
        lambda h: jnp.zeros_like(h).at[_circle(len(h))].set(h),
        lambda h: jnp.zeros_like(h).at[np.argsort(_circle(len(h)))].set(h),
    ),
    "product": (
        lambda h: jnp.tensordot(_matrix(len(h)), h, 1),
        lambda h: jnp.tensordot(_matrix(len(h)).T, h, 1),
    ),
    "flip": (lambda h: h[::-1], lambda h: jnp.flip(h, 0)),
    "sort": (
        lambda h: h[jnp.argsort(jnp.asarray(_circle(len(h))))],
        lambda h: h[jnp.argsort(jnp.argsort(jnp.asarray(_circle(len(h)))))],
    ),
    "concat": (
        lambda h: jnp.concatenate([h[1:], h[:1]]),
        lambda h: jnp.concatenate([h[-1:], h[:-1]]),
    ),
}
"""Ways to give the examples another order, and to put them back."""


@STAGES.add("examples moved and put back")
def _(d, shape, depth):
    run, out = stage(d, shape, depth)
    there, back = d.pick_noted(MOVES)

    def moved(p, h):
        p, h = run(p, there(h))
        return p, back(h)

    return moved, out


def _apart(h: jax.Array, count: int) -> jax.Array:
    return h.reshape(-1, count, *h.shape[1:])


COPIES: dict[str, tuple[Move, Move]] = {
    "siamese": (
        lambda h: jnp.concatenate([h, 0.5 * h]),
        lambda h: h[: len(h) // 2] - 0.3 * h[len(h) // 2 :],
    ),
    "repeated": (
        lambda h: jnp.stack([h, -0.7 * h], 1).reshape(-1, *h.shape[1:]),
        lambda h: _apart(h, 2).sum(1),
    ),
    "padded": (
        lambda h: jnp.pad(h, [(1, 2)] + [(0, 0)] * (h.ndim - 1)),
        lambda h: h[1:-2],
    ),
    "identity": (lambda h: h, lambda h: jnp.einsum("nm,m...->n...", jnp.eye(len(h)), h)),
    "unused half": (
        lambda h: jnp.stack([h, jnp.cos(h)]).reshape(-1, *h.shape[1:]),
        lambda h: h.reshape(2, -1, *h.shape[1:])[1],
    ),
}
"""Ways to put copies of the examples beside them, and to take the results together."""


@STAGES.add("examples beside copies of theirs")
def _(d, shape, depth):
    run, out = stage(d, shape, depth)
    there, back = d.pick_noted(COPIES)

    def doubled(p, h):
        p, h = run(p, there(h))
        return p, back(h)

    return doubled, out


@STAGES.add("the first example by itself")
def _(d, shape, depth):
    run, out = stage(d, shape, depth)

    def split(p, h):
        if len(h) == 1:
            return run(p, h)
        return p, jnp.concatenate([run(p, h[:1])[1], run(p, h[1:])[1]])

    return split, out
