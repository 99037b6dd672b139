"""Convolutions, and layers of operations that are rarely met."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.draft import Draft, Table, offset, over, product
from tests.kernels.programs.rules import (
    own_softplus,
    reversed_gradient,
    straight_through,
    surrogate_spike,
)
from tests.kernels.programs.weights import weight

LAYERS = Table()


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


@LAYERS.add("convolution", 2, 3)
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


@LAYERS.add("transposed convolution", 2, 3)
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


@LAYERS.add("patches", 2, 3)
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


@LAYERS.add("convolution without sharing", 2)
def _(d, shape):
    size, channels = shape
    if size < 2:
        return None
    w = weight(d, (size - 1, channels * 2, 2))
    return lambda p, h: lax.conv_general_dilated_local(
        h, w(p), (1,), "VALID", (2,), dimension_numbers=("NWC", "WIO", "NWC")
    )


@LAYERS.add("data as the filter", 2)
def _(d, shape):
    w = weight(d, (1, shape[0] + 1, shape[1]))
    numbers = ("NWC", "WIO", "NWC")
    return lambda p, h: jax.vmap(
        lambda one: lax.conv_general_dilated(
            w(p), one[:, :, None], (1,), "VALID", dimension_numbers=numbers
        )[0]
    )(h)


@LAYERS.add("pooled", 2, 3)
def _(d, shape):
    *sizes, _ = shape
    if min(sizes) < 2:
        return None
    w, by = weight(d, shape[-1:]), d.constant(*shape)
    window, strides = (1, *[2] * len(sizes), 1), (1, *[1] * len(sizes), 1)

    def by_max(p, h):
        return lax.reduce_window(
            offset(h, by) * over(w(p), h), -jnp.inf, lax.max, window, strides, "VALID"
        )

    def by_sum(p, h):
        return lax.reduce_window(h, 0.0, lax.add, window, strides, "VALID") * over(w(p), h)

    return d.pick([by_max, by_sum])


@LAYERS.add("cumulative along the tokens", 2)
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
        lambda p, h: lax.cummax(product(h * 0.1 + w(p)[None], matrix), axis=1),
        recurrence,
    ])


@LAYERS.add("sorted or chosen", 1, 2)
def _(d, shape):
    w, by = weight(d, shape), d.constant(*shape)
    best, matrix = max(1, shape[-1] - 1), d.constant(shape[-1], 3)
    return d.pick([
        lambda p, h: jnp.sort(offset(h, by), axis=-1) * w(p)[None],
        lambda p, h: jnp.sort(offset(h, by) + w(p)[None], axis=1),
        lambda p, h: lax.top_k(offset(h, by) * w(p)[None] + 0.01 * by[None], best)[0],
        lambda p, h: product(offset(h, by) + w(p)[None], matrix).max(axis=-1, keepdims=True),
    ])


@LAYERS.add("Fourier transforms", 1, 2)
def _(d, shape):
    w = weight(d, shape[-1:])
    return d.pick([
        lambda p, h: jnp.fft.ifft(jnp.fft.fft(h) * over(jnp.fft.fft(w(p)), h)).real,
        lambda p, h: jnp.abs(jnp.fft.fft(h * over(w(p), h)) + (1.5 + 0.5j)),
    ])


@LAYERS.add("solved for", 1, 2)
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


@LAYERS.add("gradient of an energy", 1, 2)
def _(d, shape):
    w = weight(d, (shape[-1], 3))

    def energy(p, h):
        return jnp.sum(jnp.sin(h @ w(p)) ** 2)

    return d.pick([
        lambda p, h: jax.grad(energy, argnums=1)(p, h),
        lambda p, h: jax.jvp(lambda h: jnp.tanh(h @ w(p)), (h,), (jnp.cos(h),))[1],
        lambda p, h: h - 0.3 * jax.vmap(jax.grad(partial(energy, p)))(h),
    ])


@LAYERS.add("constant in the data", 1, 2)
def _(d, shape):
    w, v = weight(d, shape), weight(d, (shape[-1], shape[-1]), 1)
    return d.pick([
        lambda p, h: jnp.broadcast_to(jnp.tanh(w(p) @ v(p)), h.shape),
        lambda p, h: h + jnp.tanh(w(p) @ v(p)),
        lambda p, h: 0.0 * h + w(p)[None],
        lambda p, h: h * jnp.sum(w(p) ** 2),
    ])


@LAYERS.add("cond on each example", 1, 2)
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


@LAYERS.add("switch on one weight", 1, 2)
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


@LAYERS.add("rule of one's own, perhaps a custom_vjp", 1, 2, 3)
def _(d, shape):
    w = weight(d, (shape[-1], shape[-1]))
    rule = d.pick([straight_through, reversed_gradient, own_softplus, surrogate_spike])
    return d.pick([
        lambda p, h: rule(h @ w(p)) + h,
        lambda p, h: jnp.tanh(rule(h) @ w(p)),
        lambda p, h: h @ rule(w(p)),
        lambda p, h: jax.jit(rule)(h @ w(p)),
    ])
