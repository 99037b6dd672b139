"""Layers, functions of the parameters and the data: products, and what is elementwise."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.draft import Draft, Table, offset, over
from tests.kernels.programs.rules import own_matmul
from tests.kernels.programs.weights import positive, weight

Layer = Callable[[list, jax.Array], jax.Array]
LAYERS = Table()


def any_width(d: Draft) -> int:
    return int(d.rng.integers(1, 5))


@LAYERS.add("dense", 1, 2, 3)
def _(d, shape):
    w = weight(d, (shape[-1], any_width(d)))
    if d.chance(0.7):
        return lambda p, h: h @ w(p)
    d.note("by a custom_vjp")
    return lambda p, h: own_matmul(h, w(p))


@LAYERS.add("dense, weights on the left", 1, 2)
def _(d, shape):
    w = weight(d, (any_width(d), shape[-1]))
    if len(shape) == 1:
        return d.pick([lambda p, h: (w(p) @ h.T).T, lambda p, h: jnp.inner(h, w(p))])
    return lambda p, h: jnp.swapaxes(w(p) @ jnp.swapaxes(h, -1, -2), -1, -2)


@LAYERS.add("einsum", 1, 2, 3)
def _(d, shape):
    letters = "abc"[: len(shape)]
    roles = {letter: d.pick(["kept", "summed", "along"]) for letter in letters[:-1]}
    roles[letters[-1]] = d.pick(["summed", "summed", "along"])
    given = "".join(letter for letter in letters if roles[letter] != "kept")
    kept = "".join(letter for letter in letters if roles[letter] != "summed")
    sizes = dict(zip(letters, shape, strict=True)) | {"o": any_width(d)}
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


@LAYERS.add("dot_general", 2, 3)
def _(d, shape):
    # Batch dimensions that the weights share: one axis of the data, not the last.
    along, width = int(d.rng.integers(len(shape) - 1)), any_width(d)
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


@LAYERS.add("product of three", 1, 2, 3)
def _(d, shape):
    u, v = weight(d, (shape[-1], 2)), weight(d, (2, any_width(d)), 1)
    return d.pick([
        lambda p, h: jnp.einsum("...d,dr,ro->...o", h, u(p), v(p)),
        lambda p, h: h @ (u(p) @ v(p)),
        lambda p, h: jnp.linalg.multi_dot([h.reshape(-1, h.shape[-1]), u(p), v(p)]).reshape(
            *h.shape[:-1], -1
        ),
    ])


@LAYERS.add("bilinear in the data", 1, 2)
def _(d, shape):
    if shape[-1] > 4:
        return None
    w = weight(d, (shape[-1], shape[-1], 2))
    return lambda p, h: jnp.einsum("...i,...j,ijo->...o", h, jnp.sin(h), w(p))


@LAYERS.add("weights made of the data", 1, 2)
def _(d, shape):
    if shape[-1] > 4:
        return None
    w = weight(d, (shape[-1], shape[-1], 2))

    def run(p, h):
        made = jnp.einsum("...i,ijo->...jo", h, w(p))
        return jnp.einsum("...j,...jo->...o", jnp.cos(h), made)

    return run


@LAYERS.add("gated", 1, 2, 3)
def _(d, shape):
    w, v = (weight(d, (shape[-1], shape[-1]), 1) for _ in range(2))
    return d.pick([
        lambda p, h: h * jax.nn.sigmoid(h @ w(p)),
        lambda p, h: (h @ w(p)) * jax.nn.silu(h @ v(p)),
        lambda p, h: h + jnp.tanh(h @ w(p)) @ w(p).T,
    ])


def thinned(d: Draft, shape: Sequence[int]) -> tuple[int, ...]:
    thin = tuple(s if d.chance(0.7) else 1 for s in shape)
    return d.pick([thin, thin, thin[1:], ()])


def bias(d: Draft, shape: Sequence[int]) -> Layer:
    w = weight(d, thinned(d, shape))
    return lambda p, h: h + over(w(p), h)


LAYERS.add("bias", 1, 2, 3)(bias)


@LAYERS.add("scale", 1, 2, 3)
def _(d, shape):
    w = weight(d, thinned(d, shape))
    return d.pick([lambda p, h: h * over(w(p), h), lambda p, h: over(w(p), h) * h])


@LAYERS.add("elementwise with weights", 1, 2, 3)
def _(d, shape):
    thin = thinned(d, shape)
    w, by, mask = weight(d, thin), d.constant(*shape), d.rng.random(shape) > 0.5
    which, how = d.pick([
        ("sub", lambda h, w: h - w),
        ("sub from", lambda h, w: w - h),
        ("div by square", lambda h, w: h / (0.5 + w**2)),
        ("div of", lambda h, w: w / (0.5 + h**2)),
        ("maximum", lambda h, w: jnp.maximum(offset(h, by), w)),
        ("minimum", lambda h, w: jnp.minimum(w, offset(h, by))),
        ("where", lambda h, w: jnp.where(mask, h, w)),
        ("where of data", lambda h, w: jnp.where(offset(h, by) > 0, h, w * h)),
        ("select by data", lambda h, w: jnp.where(offset(h, by) > 0.1, w, h)),
        ("compared", lambda h, w: jnp.where(offset(h, by) > w, w * w, h)),
        ("clamp", lambda h, w: jnp.clip(offset(h, by), w - 0.8, w + 0.7)),
        ("atan2", lambda h, w: jnp.arctan2(h, w**2 + 0.3)),
        ("logaddexp", jnp.logaddexp),
        ("sin of the product", lambda h, w: jnp.sin(h * w)),
        ("product and sum", lambda h, w: h * w + w),
        ("squared distance", lambda h, w: jnp.square(h - w)),
        ("snake", lambda h, w: h + jnp.sin(w * h) ** 2 / (0.2 + w**2)),
    ])
    d.note(which)
    return lambda p, h: how(h, over(w(p), h))


@LAYERS.add("power with weights", 1, 2, 3)
def _(d, shape):
    w = positive(d, thinned(d, shape))
    return d.pick([
        lambda p, h: (0.3 + jnp.tanh(h) ** 2) ** over(w(p), h),
        lambda p, h: over(w(p), h) ** jnp.tanh(h),
        lambda p, h: h / over(w(p), h),
    ])


@LAYERS.add("layer norm", 1, 2, 3)
def _(d, shape):
    scale, shift = weight(d, shape[-1:]), weight(d, shape[-1:], 0)
    axes = d.pick([(-1,), tuple(range(-len(shape), 0))])
    centred = d.chance(0.6)

    def run(p, h):
        h = h - h.mean(axes, keepdims=True) if centred else h
        h = h * lax.rsqrt(jnp.mean(h**2, axes, keepdims=True) + 0.1)
        return h * over(scale(p), h) + over(shift(p), h)

    return run
