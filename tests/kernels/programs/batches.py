"""Stages that treat the examples in another way: folded, mapped, moved, copied."""

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


@STAGES.add("examples moved and put back")
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


@STAGES.add("examples beside copies of theirs")
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
