"""Linear algebra, loops, calls and layers that are rarely met."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.fooling import WIDE, Fooling, small_numbers, tokens

FOOLING = Fooling()


def positive(p: Any) -> jax.Array:
    return p["a"] @ p["a"].T + 2.0 * jnp.eye(3)


FOOLING.simple(
    "algebra: one triangular system an example",
    lambda p, x: jax.vmap(
        lambda a: jax.scipy.linalg.solve_triangular(
            positive(p) + jnp.diag(jnp.abs(a)), a @ p["b"], lower=True
        )
    )(x),
)
FOOLING.simple(
    "algebra: a determinant an example",
    lambda p, x: jnp.linalg.slogdet(positive(p) + jnp.einsum("ni,nj->nij", x, x))[1],
)
FOOLING.simple(
    "algebra: eigenvalues an example",
    lambda p, x: jnp.linalg.eigvalsh(
        positive(p) + jnp.diag(jnp.arange(3.0)) + jnp.einsum("ni,nj->nij", x, x)
    ),
)
FOOLING.simple(
    "algebra: an inverse an example",
    lambda p, x: jnp.einsum(
        "nij,nj->ni", jnp.linalg.inv(positive(p) + jnp.einsum("ni,nj->nij", x, x)), x @ p["b"]
    ),
)
FOOLING.simple(
    "algebra: a Cholesky factor an example",
    lambda p, x: jnp.linalg.cholesky(positive(p) + jnp.einsum("ni,nj->nij", x, x)).sum(1),
)
FOOLING.simple(
    "algebra: QR an example",
    lambda p, x: jnp.linalg.qr(p["a"] + jnp.einsum("ni,nj->nij", x, x))[1].sum(1),
)
FOOLING.simple(
    "calls: a callback that only looks",
    lambda p, x: (jax.debug.callback(lambda h: None, x @ p["a"]), jnp.tanh(x @ p["a"]) @ p["b"])[1],
)
FOOLING.simple(
    "calls: whole numbers from outside of JAX",
    lambda p, x: (
        p["a"][
            jax.pure_callback(
                lambda a: np.asarray(a) % 3,
                jax.ShapeDtypeStruct((len(x), 3), jnp.int32),
                jnp.floor(3 * x + 0.2).astype(jnp.int32),
                vmap_method="expand_dims",
            )
        ].sum(1)
        @ p["b"]
    ),
)
FOOLING.simple(
    "calls: a mean over a named axis of tokens",
    lambda p, x: jax.vmap(
        lambda t: jnp.tanh(t @ p["a"]) - lax.pmean(t @ p["b"], "t"), 1, 1, axis_name="t"
    )(x).sum(1),
    x=lambda: tokens(4, 3, 3),
)
FOOLING.simple(
    "calls: static arguments of a checkpoint",
    lambda p, x: jax.checkpoint(lambda p, x, act: act(x @ p["a"]) @ p["b"], static_argnums=2)(
        p, x, jnp.tanh
    ),
)
FOOLING.simple(
    "calls: a while loop that counts",
    lambda p, x: (
        x @ p["a"] * lax.while_loop(lambda i: i < 5, lambda i: i + 2, jnp.int32(0)) + x @ p["b"]
    ),
)
FOOLING.simple(
    "calls: halves until small, one by one",
    lambda p, x: jax.vmap(
        lambda a: (
            (a @ p["a"])
            * lax.stop_gradient(
                lax.while_loop(lambda s: s > 0.3, lambda s: 0.5 * s, jnp.abs(a @ p["b"]).sum())
            )
        )
    )(x),
)
FOOLING.simple(
    "loops: of one step, in which the weight is used twice",
    lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h @ w) @ w.T, None), x, p["a"][None])[0] @ p["b"],
)
FOOLING.simple(
    "loops: the same stack up and down",
    lambda p, x: lax.scan(
        lambda h, w: (jnp.tanh(h + w), None),
        lax.scan(lambda h, w: (jnp.tanh(h * w), None), x, p["a"])[0],
        p["a"],
        reverse=True,
    )[0],
)
FOOLING.simple(
    "loops: a stack scanned over and used as a whole",
    lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h * w), None), x, p["a"])[0] @ p["a"],
)
FOOLING.simple(
    "loops: a window of the stack at each step",
    lambda p, x: lax.fori_loop(
        0, 2, lambda i, h: jnp.tanh(h @ lax.dynamic_slice(p["a"], (i, 0), (2, 3)).T @ p["b"][:2]), x
    ),
)
FOOLING.simple(
    "loops: unrolled in part",
    lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h * w + h @ p["b"]), h), x, p["a"], unroll=2)[1][
        2
    ],
)
FOOLING.simple(
    "loops: a linear recurrence by halves",
    lambda p, x: lax.associative_scan(
        lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]),
        (jnp.broadcast_to(jax.nn.sigmoid(p["a"][0]), x.shape), x @ p["b"]),
        axis=1,
    )[1].sum(1),
    x=lambda: tokens(4, 3, 3),
)
FOOLING.simple(
    "layers: a normalisation whose mean is learnt",
    lambda p, x: (x - p["a"][0]) / jnp.sqrt(jnp.var(x, axis=1, keepdims=True) + p["b"][0] ** 2),
)
FOOLING.simple(
    "layers: experts, each of its own tokens",
    lambda p, x: jnp.einsum(
        "ne,no->no",
        jax.nn.softmax(x @ p["b"]),
        jnp.einsum(
            "ni,nio->no", x, jnp.stack([p["a"], p["a"].T, p["b"]])[jnp.argmax(x @ p["b"], axis=1)]
        ),
    ),
)
FOOLING.simple(
    "layers: special functions",
    lambda p, x: (
        jax.scipy.special.gammaln(1.5 + (x * p["a"][0]) ** 2)
        + jax.scipy.special.erf(x @ p["b"])
        + jax.scipy.special.i0e(x * p["a"][1])
    ),
)
FOOLING.simple(
    "layers: noise of a fixed key, the same for all examples",
    lambda p, x: (
        jnp.tanh(x @ p["a"] + jax.random.normal(jax.random.key(1), (3,), jnp.float64)) @ p["b"]
    ),
)


@FOOLING.add("layers: stacked ones of Flax in its loop, and a cell in another")
def _():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            stacked = nn.scan(
                lambda m, c, _: (c + jnp.tanh(m(c)), None),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=2,
            )
            x, _ = stacked(nn.remat(nn.Dense)(2, name="d", **WIDE), x, None)
            x = nn.RNN(nn.GRUCell(2, **WIDE))(x)
            return nn.WeightNorm(nn.Dense(2, **WIDE))(x[:, -1])

    net, x = Net(), tokens()
    params = net.init(jax.random.key(0), x)["params"]
    return (lambda p, x: net.apply({"params": p}, x)), params, x


@FOOLING.add("layers: a table of Flax that reads in and out, and layers mapped over heads")
def _():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, ids):
            table = nn.Embed(5, 2, **WIDE)
            heads = nn.vmap(
                nn.Dense,
                in_axes=None,
                out_axes=1,
                axis_size=2,
                variable_axes={"params": 0},
                split_rngs={"params": True},
            )
            h = heads(2, **WIDE)(nn.LayerNorm(**WIDE)(table(ids).mean(1)))
            return table.attend(jnp.tanh(h)).sum(1)

    net, x = Net(), small_numbers(np.int32, 4, 3, top=5)
    params = net.init(jax.random.key(0), x)["params"]
    return (lambda p, x: net.apply({"params": p}, x)), params, x
