"""Weights that are changed before they are used, in ways made to fool."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from tests.kernels.programs.fooling import (
    TINY,
    Fooling,
    conv,
    images,
    mlp,
    mlp_params,
    named,
    normal,
    square,
    vectors,
    weights,
)

FOOLING = Fooling()


def on_first_weight(
    name: str,
    change: Callable,
    shape: tuple[int, ...] = (3, 4),
    tolerance: float = 1e-9,
) -> None:
    """A network of two layers; the first weight is made of a parameter of some shape."""

    @FOOLING.add(name, tolerance)
    def _():
        def f(p, x):
            return jnp.tanh(x @ change(p["w1"])) @ p["w2"]

        return f, dict(zip(("w1", "w2"), weights(shape, (4, 2)), strict=True)), vectors()


on_first_weight("changed: pruned by its own size", lambda w: jnp.where(jnp.abs(w) > 0.3, w, 0.0))
on_first_weight("changed: columns by a mask of truths", lambda w: w[:, COLUMNS], (3, 6))
on_first_weight("changed: the last rows, backwards", lambda w: w[:1:-1], (5, 4))
on_first_weight(
    "changed: bfloat16 and back", lambda w: w.astype("bfloat16").astype(float), tolerance=TINY
)
on_first_weight(
    "changed: rounded to few bits", lambda w: lax.reduce_precision(w, 8, 10), tolerance=1e-2
)
on_first_weight("changed: an outer product with itself", lambda v: jnp.outer(v[:3], v[3:]), (7,))
on_first_weight("changed: a Kronecker product", lambda w: jnp.kron(w, w[:1])[:3, :4], (3, 2))
on_first_weight(
    "changed: by its largest singular vector", lambda w: w / jnp.linalg.norm(w @ VECTOR)
)
on_first_weight("changed: by a number among its entries", lambda w: w * w[0, 0])
on_first_weight("changed: a square of a product", lambda w: (w @ w.T) @ w)
on_first_weight("changed: ordered by another row", lambda w: w[:, jnp.argsort(w[0])])
on_first_weight(
    "changed: pooled", lambda w: lax.reduce_window(w, 0.0, lax.add, (2, 1), (1, 1), "VALID"), (4, 4)
)
on_first_weight(
    "changed: exponential of a skew matrix", lambda w: jax.scipy.linalg.expm(w - w.T)[:3], (4, 4)
)
on_first_weight(
    "changed: the Cayley transform",
    lambda w: jnp.linalg.solve(jnp.eye(4) + w - w.T, jnp.eye(4) - w + w.T)[:3],
    (4, 4),
)
on_first_weight("changed: orthogonal by QR", lambda w: jnp.linalg.qr(w.T)[0].T, (3, 4))
on_first_weight(
    "changed: a Cholesky factor", lambda w: jnp.linalg.cholesky(w @ w.T + jnp.eye(4))[1:], (4, 4)
)
on_first_weight(
    "changed: singular values only",
    lambda w: jnp.diag(jnp.linalg.svd(w, full_matrices=False)[1]) @ VALUES,
)
on_first_weight(
    "changed: a part of it stopped", lambda w: w.at[:, 1].set(lax.stop_gradient(w[:, 1]))
)
on_first_weight("changed: sign times a learnt mean", lambda w: jnp.sign(w) * jnp.abs(w).mean())
on_first_weight(
    "changed: padded with itself", lambda w: jnp.pad(w, ((0, 1), (1, 1)), mode="wrap"), (2, 2)
)
on_first_weight("changed: resized", lambda w: jax.image.resize(w, (3, 4), "linear"), (2, 3))
on_first_weight(
    "changed: a part doubled by a scatter", lambda w: w.at[jnp.array([0, 0, 2])].add(w[:1])
)
on_first_weight(
    "changed: multiplied along a scan",
    lambda w: lax.scan(lambda c, a: (c @ a, None), jnp.eye(3, 4), w)[0],
    (2, 4, 4),
)
on_first_weight(
    "changed: multiplied by a tree",
    lambda w: lax.associative_scan(jnp.matmul, w)[-1][:3],
    (3, 4, 4),
)
on_first_weight(
    "changed: chosen by a switch on its largest entry",
    lambda w: lax.switch(jnp.argmax(w[0]), [lambda w, k=k: w * k for k in (0.3, 0.6, 0.9, 1.2)], w),
)
on_first_weight(
    "changed: gradient of a function of it", jax.grad(lambda w: jnp.sum(jnp.sin(w @ w.T)))
)
on_first_weight("changed: real part of its spectrum", lambda w: jnp.fft.fft2(w).real)
on_first_weight(
    "changed: flattened, cut and put together",
    lambda w: jnp.concatenate([w.reshape(-1)[5:], w.reshape(-1)[:5]]).reshape(3, 4),
)
COLUMNS = np.array([True, False, True, True, False, True])
VECTOR = normal(8, 4)
VALUES = normal(9, 3, 4)


@FOOLING.add("changed: a convolution kernel blurred by a constant filter")
def _():
    blur = np.ones((2, 2, 1, 1)) / 4

    def f(p, x):
        k = jnp.transpose(p, (3, 0, 1, 2)).reshape(4, 3, 3, 1)
        k = conv(k, blur, padding="VALID").reshape(2, 2, 2, 2)
        return conv(x, jnp.transpose(k, (1, 2, 3, 0))).sum((1, 2))

    return f, weights((3, 3, 2, 2))[0], images()


@FOOLING.add("changed: one convolution kernel, turned in four directions")
def _():
    def f(p, x):
        turned = jnp.concatenate([jnp.rot90(p["k"], at) for at in range(4)], axis=-1)
        h = conv(x, turned)
        return jnp.tanh(h).reshape(*h.shape[:3], 4, 2).max(axis=3).mean((1, 2)) @ p["w"]

    return f, named(k=(3, 3, 2, 2), w=(2, 2)), images()


@FOOLING.add("changed: a standardised convolution kernel with a learnt gain")
def _():
    def f(p, x):
        k = p["k"]
        k = (k - k.mean((0, 1, 2), keepdims=True)) / (k.std((0, 1, 2), keepdims=True) + 1e-3)
        return jnp.tanh(conv(x, k * p["gain"], (2, 2))).mean(1).reshape(len(x), -1)

    return f, named(k=(3, 3, 2, 2), gain=(2,)), images()


@FOOLING.add("changed: spectral norm by power iteration that is stopped")
def _():
    def f(p, x):
        w = p["w1"]
        fixed = lax.stop_gradient(w)

        def step(_, v):
            v = fixed.T @ (fixed @ v)
            return v / jnp.sqrt(v @ v)

        v = lax.fori_loop(0, 5, step, jnp.ones(4) / 2)
        u = fixed @ v / jnp.linalg.norm(fixed @ v)
        return mlp({**p, "w1": w / (u @ w @ v)}, x)

    return f, mlp_params(), vectors()


@FOOLING.add("changed: by a while loop that is stopped")
def _():
    def f(p, x):
        size = lax.stop_gradient(jnp.abs(p["w1"]).sum())
        size = lax.while_loop(lambda s: s > 1.5, lambda s: 0.5 * s, size)
        return mlp({**p, "w1": p["w1"] * size}, x)

    return f, mlp_params(), vectors()


@FOOLING.add("changed: columns of direction and length")
def _():
    def f(p, x):
        w = p["w"] + p["a"] @ p["b"]
        return x @ (p["m"] * w / jnp.linalg.norm(w, axis=0, keepdims=True))

    shapes = {"w": (3, 4), "a": (3, 1), "b": (1, 4), "m": (4,)}
    return f, named(**shapes), vectors()


@FOOLING.add("changed: made by a network of constants")
def _():
    codes = normal(5, 3, 2)

    def f(p, x):
        made = jnp.tanh(codes @ p["w"]) @ p["v"]
        return x @ made + x @ made**2

    return f, named(w=(2, 3), v=(3, 4)), vectors()


@FOOLING.add("changed: one long vector, unravelled")
def _():
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, mlp_params()))
    return (lambda p, x: mlp(unravel(p), x)), flat, vectors()


@FOOLING.add("changed: overlapping parts of one vector")
def _():
    def f(p, x):
        return jnp.tanh(x @ p[:12].reshape(3, 4)) @ p[8:16].reshape(4, 2)

    return f, weights((16,))[0], vectors()


@FOOLING.add("changed: scaled by a rule of its own, with the wrong factor")
def _():
    @jax.custom_vjp
    def equalised(w):
        return w * 0.5

    equalised.defvjp(lambda w: (w * 0.5, None), lambda _, c: (c * 2.0,))
    return (lambda p, x: mlp({**p, "w1": equalised(p["w1"])}, x)), mlp_params(), vectors()


@FOOLING.add("changed: ternary, straight through, used twice")
def _():
    @jax.custom_vjp
    def ternary(w):
        return jnp.sign(w) * (jnp.abs(w) > 0.2)

    ternary.defvjp(lambda w: (ternary(w), w), lambda w, c: (c * (jnp.abs(w) < 1.0),))

    def f(p, x):
        return jnp.tanh(x @ ternary(p["a"])) @ ternary(p["a"]).T

    return f, square(), vectors()


@FOOLING.add("changed: straight through by stop_gradient")
def _():
    def f(p, x):
        w = p["w1"]
        return mlp({**p, "w1": w + lax.stop_gradient(jnp.round(w * 3) / 3 - w)}, x)

    return f, mlp_params(), vectors()


@FOOLING.add("changed: rolled by a whole number among the parameters")
def _():
    def f(p, x):
        return x @ jnp.roll(p["w"], p["by"], axis=1)[:, :2]

    return f, {"w": weights((3, 4))[0], "by": jnp.asarray(3)}, vectors()


@FOOLING.add("changed: real parameters of complex weights")
def _():
    def f(p, x):
        return jnp.abs(x @ lax.complex(p["re"], p["im"]) + 0.1)

    return f, named(re=(3, 2), im=(3, 2)), vectors()


@FOOLING.add("changed: circular convolution through Fourier transforms")
def _():
    def f(p, x):
        return jnp.fft.irfft(jnp.fft.rfft(x) * jnp.conj(jnp.fft.rfft(p["w"])), 4) * p["g"]

    return f, named(w=(4,), g=(4,)), vectors(d=4)


@FOOLING.add("changed: a sum that cancels")
def _():
    return (lambda p, x: x @ p["a"] - (x @ p["a"] - x**2 @ p["b"])), square(), vectors()


@FOOLING.add("changed: multiplied with zero")
def _():
    return (lambda p, x: x @ (p["a"] * 0.0) + x @ p["b"]), square(), vectors()


@FOOLING.add("changed: a projected embedding, of which the transpose reads out")
def _():
    def f(p, x):
        table = p["words"] @ p["up"]
        h = jnp.tanh(table[x].sum(1))
        return h @ table.T

    x = jnp.asarray(np.random.default_rng(0).integers(0, 5, (4, 3)))
    return f, named(words=(5, 2), up=(2, 3)), x
