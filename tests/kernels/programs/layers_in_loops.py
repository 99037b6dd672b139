"""Layers with loops and choices inside."""

import jax.numpy as jnp
from jax import lax

from tests.kernels.programs.draft import Table, over
from tests.kernels.programs.weights import weight

LAYERS = Table()


@LAYERS.add("recurrent", 2)
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


@LAYERS.add("layers stacked", 1, 2)
def _(d, shape):
    width, length = shape[-1], int(d.rng.integers(1, 4))
    if width > 4:
        return None
    w, b = weight(d, (length, width, width)), weight(d, (length, width), 1)
    reverse = d.chance(0.4)

    def scanned(p, h):
        def step(h, given):
            return jnp.tanh(h @ given[0] + over(given[1], h)), None

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


@LAYERS.add("loop in a loop", 1)
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


@LAYERS.add("one layer again and again", 1, 2, 3)
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
