"""Small programs made to fool whatever follows parameters through a program.

``FOOLING`` have independent examples and the kernel of their Jacobian. ``REFUSED`` have no kernel
of single examples. ``EITHER`` may be refused, or have the kernel that is told. ``LGA`` have one for
the parameters that this choice names.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.core import freeze
from flax.training.train_state import TrainState
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import sparse
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxntk.kernels import empirical_ntk
from tests.kernels.random_programs import Program, jacobian_kernel

FOOLING: dict[str, Callable[[], Program]] = {}
REFUSED: dict[str, Callable[[], Program]] = {}
EITHER: dict[str, Callable[[], tuple[Program, np.ndarray]]] = {}
LGA: dict[str, Callable[[], tuple[Program, Callable]]] = {}

WIDE = {"param_dtype": "float64", "dtype": "float64"}
NARROW = 1e-5
TINY = 2e-2


def _named(table: dict[str, Any], name: str, tolerance: float) -> Callable:
    assert name not in table, name

    def add(make: Callable) -> Callable:
        @functools.wraps(make)
        def made() -> Program:
            f, params, x = make()
            return Program(f, jax.tree.map(_array, params), x, name, tolerance)

        table[name] = made
        return make

    return add


def _array(leaf: Any) -> Any:
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf


def fooling(name: str, tolerance: float = 1e-9) -> Callable:
    return _named(FOOLING, name, tolerance)


def refused(name: str) -> Callable:
    return _named(REFUSED, name, 1e-9)


def either(name: str) -> Callable:
    def add(make: Callable) -> Callable:
        def made() -> tuple[Program, np.ndarray]:
            f, params, x, *want = make()
            program = Program(f, jax.tree.map(_array, params), x, name)
            return program, want[0] if want else jacobian_kernel(program)

        EITHER[name] = made
        return make

    return add


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def weights(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [0.7 * normal(100 + at, *shape) for at, shape in enumerate(shapes)]


def vectors(n: int = 4, d: int = 3) -> jax.Array:
    return jnp.asarray(normal(1, n, d))


def tokens(n: int = 4, t: int = 3, d: int = 2) -> jax.Array:
    return jnp.asarray(normal(2, n, t, d))


def images(n: int = 3, size: int = 4, channels: int = 2) -> jax.Array:
    return jnp.asarray(normal(3, n, size, size, channels))


def simple(name: str, f: Callable, params: Callable | None = None, x: Callable = vectors) -> None:
    @fooling(name)
    def _():
        return f, (params or square)(), x()


def conv(x: jax.Array, w: jax.Array, strides: tuple[int, ...] = (1, 1), padding: Any = "SAME"):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=numbers)


def mlp(p: Any, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ p["w1"]) @ p["w2"]


def mlp_params() -> dict[str, np.ndarray]:
    return dict(zip(("w1", "w2"), weights((3, 4), (4, 2)), strict=True))


def square() -> dict[str, np.ndarray]:
    return dict(zip(("a", "b"), weights((3, 3), (3, 3)), strict=True))


# ---------------------------------------------------------------------------------------------
# Weights that are changed before they are used
# ---------------------------------------------------------------------------------------------


def on_first_weight(
    name: str,
    change: Callable,
    shape: tuple[int, ...] = (3, 4),
    tolerance: float = 1e-9,
) -> None:
    """A network of two layers; the first weight is made of a parameter of some shape."""

    @fooling(name, tolerance)
    def _():
        def f(p, x):
            return jnp.tanh(x @ change(p["w1"])) @ p["w2"]

        return f, dict(zip(("w1", "w2"), weights(shape, (4, 2)), strict=True)), vectors()


on_first_weight("changed: lower triangle", lambda w: jnp.tril(w, 1))
on_first_weight("changed: kept where a constant is large", lambda w: jnp.where(MASK, w, 0.3))
on_first_weight("changed: pruned by its own size", lambda w: jnp.where(jnp.abs(w) > 0.3, w, 0.0))
on_first_weight("changed: minus its mean", lambda w: w - w.mean())
on_first_weight("changed: rows gathered, some twice", lambda w: w[np.array([1, 0, 1])], (2, 4))
on_first_weight("changed: columns by a mask of truths", lambda w: w[:, COLUMNS], (3, 6))
on_first_weight("changed: every second row", lambda w: w[::2], (5, 4))
on_first_weight("changed: the last rows, backwards", lambda w: w[:1:-1], (5, 4))
on_first_weight(
    "changed: bfloat16 and back", lambda w: w.astype("bfloat16").astype(float), tolerance=TINY
)
on_first_weight(
    "changed: rounded to few bits", lambda w: lax.reduce_precision(w, 8, 10), tolerance=1e-2
)
on_first_weight("changed: an outer product with itself", lambda v: jnp.outer(v[:3], v[3:]), (7,))
on_first_weight("changed: a Kronecker product", lambda w: jnp.kron(w, w[:1])[:3, :4], (3, 2))
on_first_weight("changed: a Toeplitz matrix", lambda v: v[TOEPLITZ], (6,))
on_first_weight(
    "changed: by its largest singular vector", lambda w: w / jnp.linalg.norm(w @ VECTOR)
)
on_first_weight("changed: by a number among its entries", lambda w: w * w[0, 0])
on_first_weight("changed: a square of a product", lambda w: (w @ w.T) @ w)
on_first_weight("changed: three powers added", lambda w: w + w**2 + 0.5 * w**3)
on_first_weight("changed: softmax over rows", lambda w: jax.nn.softmax(w, axis=0))
on_first_weight("changed: sorted by columns", lambda w: jnp.sort(w, axis=1))
on_first_weight("changed: ordered by another row", lambda w: w[:, jnp.argsort(w[0])])
on_first_weight("changed: a cumulative sum", lambda w: jnp.cumsum(w, axis=1))
on_first_weight(
    "changed: pooled", lambda w: lax.reduce_window(w, 0.0, lax.add, (2, 1), (1, 1), "VALID"), (4, 4)
)
on_first_weight(
    "changed: the largest of neighbours",
    lambda w: lax.reduce_window(w, -jnp.inf, lax.max, (2, 1), (1, 1), "VALID"),
    (4, 4),
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
on_first_weight(
    "changed: twice itself less itself stopped", lambda w: 2.0 * w - lax.stop_gradient(w)
)
on_first_weight("changed: sign times a learnt mean", lambda w: jnp.sign(w) * jnp.abs(w).mean())
on_first_weight(
    "changed: dropped by a fixed draw",
    lambda w: w * jax.random.bernoulli(jax.random.key(0), 0.6, w.shape),
)
on_first_weight(
    "changed: padded with itself", lambda w: jnp.pad(w, ((0, 1), (1, 1)), mode="wrap"), (2, 2)
)
on_first_weight("changed: resized", lambda w: jax.image.resize(w, (3, 4), "linear"), (2, 3))
on_first_weight(
    "changed: a part doubled by a scatter", lambda w: w.at[jnp.array([0, 0, 2])].add(w[:1])
)
on_first_weight("changed: a plus its own roll", lambda w: w + jnp.roll(w, 1, 0) - jnp.flip(w, 1))
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
    "changed: rows normalised by vmap", lambda w: jax.vmap(lambda r: r / jnp.sqrt(r @ r))(w)
)
on_first_weight("changed: mapped row by row", lambda w: lax.map(lambda r: r * r.sum(), w))
on_first_weight(
    "changed: jitted with its transpose", lambda w: jax.jit(lambda w: (w.T, w))(w)[0], (4, 3)
)
on_first_weight(
    "changed: no change at all, a hundred times",
    lambda w: functools.reduce(lambda w, _: w.T.T.reshape(-1).reshape(3, 4), range(100), w),
)
on_first_weight(
    "changed: divided by its stopped self", lambda w: w / lax.stop_gradient(jnp.abs(w) + 0.1)
)
on_first_weight(
    "changed: one of two by a comparison of its own",
    lambda w: lax.cond(w.sum() > 0, lambda w: 2.0 * w, lambda w: -0.5 * w, w),
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

MASK = normal(7, 3, 4) > -0.2
COLUMNS = np.array([True, False, True, True, False, True])
TOEPLITZ = np.arange(3)[:, None] - np.arange(4) + 2
VECTOR = normal(8, 4)
VALUES = normal(9, 3, 4)


@fooling("changed: a convolution kernel blurred by a constant filter")
def _():
    blur = np.ones((2, 2, 1, 1)) / 4

    def f(p, x):
        k = jnp.transpose(p, (3, 0, 1, 2)).reshape(4, 3, 3, 1)
        k = conv(k, blur, padding="VALID").reshape(2, 2, 2, 2)
        return conv(x, jnp.transpose(k, (1, 2, 3, 0))).sum((1, 2))

    return f, weights((3, 3, 2, 2))[0], images()


@fooling("changed: one convolution kernel, turned in four directions")
def _():
    def f(p, x):
        turned = jnp.concatenate([jnp.rot90(p["k"], at) for at in range(4)], axis=-1)
        h = conv(x, turned)
        return jnp.tanh(h).reshape(*h.shape[:3], 4, 2).max(axis=3).mean((1, 2)) @ p["w"]

    return f, dict(zip("kw", weights((3, 3, 2, 2), (2, 2)), strict=True)), images()


@fooling("changed: a standardised convolution kernel with a learnt gain")
def _():
    def f(p, x):
        k = p["k"]
        k = (k - k.mean((0, 1, 2), keepdims=True)) / (k.std((0, 1, 2), keepdims=True) + 1e-3)
        return jnp.tanh(conv(x, k * p["gain"], (2, 2))).mean(1).reshape(len(x), -1)

    return f, dict(zip(("k", "gain"), weights((3, 3, 2, 2), (2,)), strict=True)), images()


@fooling("changed: spectral norm by power iteration that is stopped")
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


@fooling("changed: by a while loop that is stopped")
def _():
    def f(p, x):
        size = lax.stop_gradient(jnp.abs(p["w1"]).sum())
        size = lax.while_loop(lambda s: s > 1.5, lambda s: 0.5 * s, size)
        return mlp({**p, "w1": p["w1"] * size}, x)

    return f, mlp_params(), vectors()


@fooling("changed: low rank added, with a number for how much")
def _():
    def f(p, x):
        return x @ (p["w"] + p["much"] * p["a"] @ p["b"])

    shapes = {"w": (3, 4), "a": (3, 1), "b": (1, 4), "much": ()}
    return f, dict(zip(shapes, weights(*shapes.values()), strict=True)), vectors()


@fooling("changed: columns of direction and length")
def _():
    def f(p, x):
        w = p["w"] + p["a"] @ p["b"]
        return x @ (p["m"] * w / jnp.linalg.norm(w, axis=0, keepdims=True))

    shapes = {"w": (3, 4), "a": (3, 1), "b": (1, 4), "m": (4,)}
    return f, dict(zip(shapes, weights(*shapes.values()), strict=True)), vectors()


@fooling("changed: made by a network of constants")
def _():
    codes = normal(5, 3, 2)

    def f(p, x):
        made = jnp.tanh(codes @ p["w"]) @ p["v"]
        return x @ made + x @ made**2

    return f, dict(zip("wv", weights((2, 3), (3, 4)), strict=True)), vectors()


@fooling("changed: one long vector, unravelled")
def _():
    flat, unravel = ravel_pytree(jax.tree.map(jnp.asarray, mlp_params()))
    return (lambda p, x: mlp(unravel(p), x)), flat, vectors()


@fooling("changed: overlapping parts of one vector")
def _():
    def f(p, x):
        return jnp.tanh(x @ p[:12].reshape(3, 4)) @ p[8:16].reshape(4, 2)

    return f, weights((16,))[0], vectors()


@fooling("changed: two learnt matrices, the larger entry of each")
def _():
    return (lambda p, x: jnp.tanh(x @ jnp.maximum(p["a"], p["b"]))), square(), vectors()


@fooling("changed: scaled by a rule of its own, with the wrong factor")
def _():
    @jax.custom_vjp
    def equalised(w):
        return w * 0.5

    equalised.defvjp(lambda w: (w * 0.5, None), lambda _, c: (c * 2.0,))
    return (lambda p, x: mlp({**p, "w1": equalised(p["w1"])}, x)), mlp_params(), vectors()


@fooling("changed: ternary, straight through, used twice")
def _():
    @jax.custom_vjp
    def ternary(w):
        return jnp.sign(w) * (jnp.abs(w) > 0.2)

    ternary.defvjp(lambda w: (ternary(w), w), lambda w, c: (c * (jnp.abs(w) < 1.0),))

    def f(p, x):
        return jnp.tanh(x @ ternary(p["a"])) @ ternary(p["a"]).T

    return f, square(), vectors()


@fooling("changed: straight through by stop_gradient")
def _():
    def f(p, x):
        w = p["w1"]
        return mlp({**p, "w1": w + lax.stop_gradient(jnp.round(w * 3) / 3 - w)}, x)

    return f, mlp_params(), vectors()


@fooling("changed: rolled by a whole number among the parameters")
def _():
    def f(p, x):
        return x @ jnp.roll(p["w"], p["by"], axis=1)[:, :2]

    return f, {"w": weights((3, 4))[0], "by": jnp.asarray(3)}, vectors()


@fooling("changed: real parameters of complex weights")
def _():
    def f(p, x):
        return jnp.abs(x @ lax.complex(p["re"], p["im"]) + 0.1)

    return f, dict(zip(("re", "im"), weights((3, 2), (3, 2)), strict=True)), vectors()


@fooling("changed: circular convolution through Fourier transforms")
def _():
    def f(p, x):
        return jnp.fft.irfft(jnp.fft.rfft(x) * jnp.conj(jnp.fft.rfft(p["w"])), 4) * p["g"]

    return f, dict(zip("wg", weights((4,), (4,)), strict=True)), vectors(d=4)


@fooling("changed: a scaled parameter meets its plain self")
def _():
    return (lambda p, x: x @ (0.5 * p) + jnp.sin(x) @ p + p.sum()), weights((3, 2))[0], vectors()


@fooling("changed: a sum that cancels")
def _():
    return (lambda p, x: x @ p["a"] - (x @ p["a"] - x**2 @ p["b"])), square(), vectors()


@fooling("changed: multiplied with zero")
def _():
    return (lambda p, x: x @ (p["a"] * 0.0) + x @ p["b"]), square(), vectors()


@fooling("changed: a projected embedding, of which the transpose reads out")
def _():
    def f(p, x):
        table = p["words"] @ p["up"]
        h = jnp.tanh(table[x].sum(1))
        return h @ table.T

    x = jnp.asarray(np.random.default_rng(0).integers(0, 5, (4, 3)))
    return f, dict(zip(("words", "up"), weights((5, 2), (2, 3)), strict=True)), x


# ---------------------------------------------------------------------------------------------
# Weights that leave an inner program before they are used
# ---------------------------------------------------------------------------------------------


def leaving(name: str, wrap: Callable[[Callable], Callable]) -> None:
    """A step that returns data and weights, changed, swapped, twice or as they are."""

    def step(p, x):
        h = jnp.tanh(x @ p["a"])
        return h, {"a": p["b"], "b": 0.5 * p["a"].T, "both": p["a"] + p["b"], "same": p["a"]}

    @fooling(f"leaving: {name}")
    def _():
        def f(p, x):
            h, p = wrap(step)(p, x)
            return h @ p["a"] + jnp.sin(h @ p["b"]) @ p["same"] + x @ p["both"]

        return f, square(), vectors()


def _other(step: Callable) -> Callable:
    def other(p, x):
        h, new = step(p, x)
        return 0.3 * h, {**new, "a": new["b"], "same": 2.0 * new["same"]}

    return other


def _scanned(step: Callable, as_: str) -> Callable:
    def run(p, x):
        if as_ == "ys":
            return jax.tree.map(
                lambda leaf: leaf[0],
                lax.scan(lambda c, p: (c, step(p, x)), 0, jax.tree.map(lambda w: w[None], p))[1],
            )
        start = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(lambda p, x: step(p, x), p, x)
        )
        return lax.scan(lambda c, _: (step(p, x), None), start, length=2)[0]

    return run


def _own_rule(step: Callable, by: float) -> Callable:
    own = jax.custom_vjp(step)
    own.defvjp(
        lambda p, x: jax.vjp(step, p, x),
        lambda pull_back, c: pull_back(jax.tree.map(lambda leaf: by * leaf, c)),
    )
    return own


def _own_tangents(step: Callable, by: float) -> Callable:
    own = jax.custom_jvp(step)

    def rule(primals, tangents):
        out, change = jax.jvp(step, primals, tangents)
        return out, jax.tree.map(lambda leaf: by * leaf, change)

    own.defjvp(rule)
    return own


leaving("nothing", lambda f: f)
leaving("jit", jax.jit)
leaving("jit in jit", lambda f: jax.jit(lambda p, x: jax.jit(f)(p, x)))
leaving("checkpoint", jax.checkpoint)
leaving("checkpoint of jit of checkpoint", lambda f: jax.checkpoint(jax.jit(jax.checkpoint(f))))
leaving("cond", lambda f: lambda p, x: lax.cond(jnp.array(False), _other(f), f, p, x))
leaving(
    "cond on a parameter", lambda f: lambda p, x: lax.cond(p["a"][0, 0] > 0, f, _other(f), p, x)
)
leaving("switch", lambda f: lambda p, x: lax.switch(2, [_other(f), _other(f), f, _other(f)], p, x))
leaving("scan, collected", lambda f: _scanned(f, "ys"))
leaving("scan, carried", lambda f: _scanned(f, "carry"))
leaving("custom_vjp", lambda f: _own_rule(f, 1.0))
leaving("custom_vjp that is three times as much", lambda f: _own_rule(f, 3.0))
leaving("jit of a wrong custom_vjp", lambda f: jax.jit(_own_rule(f, -1.0)))
leaving("custom_jvp", lambda f: _own_tangents(f, 1.0))
leaving("custom_jvp that is half as much", lambda f: _own_tangents(f, 0.5))
leaving(
    "barrier", lambda f: lambda p, x: lax.optimization_barrier(f(*lax.optimization_barrier((p, x))))
)
leaving(
    "by platform", lambda f: lambda p, x: lax.platform_dependent(p, x, cpu=f, default=_other(f))
)
leaving(
    "vmap over nothing",
    lambda f: lambda p, x: jax.tree.map(lambda a: a[1], jax.vmap(lambda _: f(p, x))(jnp.arange(3))),
)


@fooling("leaving: a loop in which two weights change places")
def _():
    def f(p, x):
        def step(carry, _):
            h, a, b = carry
            return (jnp.tanh(h @ a), b, a), None

        (h, a, b), _ = lax.scan(step, (x, p["a"], p["b"]), length=3)
        return h @ a - x @ b

    return f, square(), vectors()


@fooling("leaving: a loop that adds weights up from zeros")
def _():
    def f(p, x):
        def step(total, w):
            return total + w @ p["b"], total

        total, before = lax.scan(step, jnp.zeros((3, 3)), p["a"])
        return jnp.tanh(x @ total) @ before[-1]

    return f, dict(zip("ab", weights((2, 3, 3), (3, 3)), strict=True)), vectors()


@fooling("leaving: a loop whose weights become data")
def _():
    def f(p, x):
        def step(c, _):
            return c @ p["b"] + x.sum(1)[:, None, None], None

        start = jnp.broadcast_to(p["a"], (len(x), 3, 3))
        c = lax.scan(step, start, length=2)[0]
        return jnp.einsum("ni,nij->nj", x, c)

    return f, square(), vectors()


@fooling("leaving: a loop whose constant becomes data in the second step")
def _():
    def f(p, x):
        def step(carry, _):
            first, second = carry
            return (jnp.tanh(x @ p["a"]), first @ p["b"]), second

        (first, second), seen = lax.scan(step, (jnp.ones((len(x), 3)),) * 2, length=3)
        return first * second + seen[2]

    return f, square(), vectors()


@fooling("leaving: a loop's weights, and the stack that it took apart")
def _():
    def f(p, x):
        def step(h, w):
            return jnp.tanh(h @ w), w.T

        h, turned = lax.scan(step, x, p["a"])
        return h @ turned[0] @ p["a"][1] + jnp.einsum("ni,kij->nj", x, turned)

    return f, dict(zip("ab", weights((2, 3, 3), (3, 3)), strict=True)), vectors()


@fooling("leaving: outputs of a loop that nothing uses")
def _():
    def f(p, x):
        def step(carry, w):
            h, unused = carry
            return (jnp.tanh(h @ w), unused @ p["b"]), (h @ p["b"], w)

        (h, _), _ = lax.scan(step, (x, x), p["a"])
        return h

    return f, dict(zip("ab", weights((2, 3, 3), (3, 3)), strict=True)), vectors()


@fooling("leaving: one weight through jit twice, in one step")
def _():
    def f(p, x):
        one, two, turned = jax.jit(lambda w: (w, w, w.T))(p["a"])
        return jnp.tanh(x @ one) @ turned + x @ (two * p["b"])

    return f, square(), vectors()


# ---------------------------------------------------------------------------------------------
# One branch that is different
# ---------------------------------------------------------------------------------------------


def branch(name: str, odd: Callable, x: Callable = vectors, params: Callable = mlp_params) -> None:
    """An ordinary branch beside an odd one that is taken, or that each example may take."""

    def one(a, p):
        return lax.cond(a.sum() > 0.1, odd, mlp, p, a[None])[0]

    ways = {
        "always": lambda p, x: lax.cond(jnp.array(True), odd, mlp, p, x),
        "never": lambda p, x: lax.switch(1, [odd, mlp, odd], p, x),
        "for some examples": lambda p, x: jax.vmap(lambda a: one(a, p))(x),
        "for some examples, one by one": lambda p, x: lax.map(lambda a: one(a, p), x),
    }
    for way, f in ways.items():
        simple(f"branch: {name}, {way}", f, params, x)


branch("scaled", lambda p, x: mlp({**p, "w1": p["w1"] * 0.5, "w2": p["w2"] - 1.0}, x))
branch("other use", lambda p, x: jnp.tanh(x @ p["w1"] @ p["w1"].T @ p["w1"]) @ p["w2"])
branch("as a bias", lambda p, x: mlp(p, x) + p["w1"].sum(0)[:2] + p["w2"][0])
branch("without data", lambda p, x: jnp.tile(p["w1"][:1, :2], (len(x), 1)))
branch("without weights", lambda p, x: x[:, :2] ** 2)
branch("stopped", lambda p, x: mlp({**p, "w1": lax.stop_gradient(p["w1"])}, x))
branch(
    "with a loop",
    lambda p, x: (
        lax.scan(lambda h, _: (jnp.tanh(h @ p["w1"] @ p["w1"].T), None), x, length=2)[0]
        @ p["w1"]
        @ p["w2"]
    ),
)


@fooling("branch: on the number of the step")
def _():
    def f(p, x):
        def step(h, i):
            h = lax.cond(i == 1, lambda h: jnp.tanh(h @ p["a"]), lambda h: h @ p["a"].T + h, h)
            return h, None

        return lax.scan(step, x, jnp.arange(3))[0]

    return f, square(), vectors()


@fooling("branch: two choices, of which each uses what the other does not")
def _():
    def f(p, x):
        h = lax.cond(jnp.array(True), lambda h: h @ p["a"], lambda h: h @ p["b"], x)
        return lax.cond(jnp.array(False), lambda h: h @ p["b"], lambda h: h @ p["a"], jnp.tanh(h))

    return f, square(), vectors()


@fooling("branch: on a whole number among the parameters")
def _():
    def f(p, x):
        ways = [lambda w, x: x @ w, lambda w, x: jnp.sin(x @ w.T), lambda w, x: x * w[0]]
        return lax.switch(p["way"], ways, p["a"], x)

    return f, {**square(), "way": jnp.asarray(1, jnp.int32)}, vectors()


@fooling("branch: chosen by a gate that is learnt")
def _():
    def f(p, x):
        def one(a):
            way = jnp.argmax(a @ p["b"])
            ways = [lambda a: a @ p["a"], lambda a: a @ p["a"].T, lambda a: a * p["a"][0]]
            return lax.switch(way, ways, a) * jax.nn.softmax(a @ p["b"])[way]

        return jax.vmap(one)(x)

    return f, square(), vectors()


@fooling("branch: in a loop in a branch")
def _():
    def f(p, x):
        def step(i, h):
            return lax.cond(i > 0, lambda: h @ p["a"], lambda: jnp.cos(h @ p["b"]))

        return lax.cond(
            jnp.array(True), lambda: lax.fori_loop(0, 3, step, x), lambda: x @ p["a"] @ p["b"]
        )

    return f, square(), vectors()


# ---------------------------------------------------------------------------------------------
# Interceptors of the user's own
# ---------------------------------------------------------------------------------------------


class TwoLayers(nn.Module):
    """A network that interceptors change."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="last", **WIDE)(jnp.tanh(nn.Dense(3, name="first", **WIDE)(x)))


def intercepted(name: str, intercept: Callable, extra: Callable = dict) -> None:
    @fooling(f"interceptor: {name}")
    def _():
        net, x = TwoLayers(), vectors()
        params = {"net": net.init(jax.random.key(0), x)["params"], **extra()}

        def f(p, x):
            def one(call, args, kwargs, context):
                if isinstance(context.module, nn.Dense) and context.method_name == "__call__":
                    return intercept(p, call, args, kwargs, context.module)
                return call(*args, **kwargs)

            with nn.intercept_methods(one):
                return net.apply({"params": p["net"]}, x)

        return f, params, x


intercepted("inputs scaled", lambda p, call, args, kw, m: call(0.5 * args[0], **kw))
intercepted("outputs squared", lambda p, call, args, kw, m: call(*args, **kw) ** 2)
intercepted(
    "called on each example and on half of it",
    lambda p, call, args, kw, m: (lambda h: h[: len(args[0])] * h[len(args[0]) :])(
        call(jnp.concatenate([args[0], 0.5 * args[0]]))
    ),
)
intercepted(
    "one layer only",
    lambda p, call, args, kw, m: call(*args, **kw) * (3.0 if m.name == "first" else 1.0),
)
intercepted(
    "its weights once more",
    lambda p, call, args, kw, m: (
        call(*args, **kw) + jnp.sin(args[0]) @ m.variables["params"]["kernel"]
    ),
)
intercepted(
    "an adapter beside the layer",
    lambda p, call, args, kw, m: call(*args, **kw) + args[0] @ p["a"] @ p["b"][:, : m.features],
    lambda: dict(zip("ab", weights((3, 1), (1, 3)), strict=True)),
)
intercepted(
    "not called at all",
    lambda p, call, args, kw, m: args[0][:, : m.features] * p["w"],
    lambda: {"w": weights((3,))[0][:1]},
)
intercepted("under jit", lambda p, call, args, kw, m: jax.jit(lambda a: 2.0 * a)(call(*args, **kw)))


# ---------------------------------------------------------------------------------------------
# Small whole numbers, truth values, other kinds of inputs
# ---------------------------------------------------------------------------------------------


def small_numbers(dtype: Any, *shape: int, top: int = 100) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, top, shape).astype(dtype))


@fooling("small numbers: int8 images into a convolution")
def _():
    def f(p, x):
        return jnp.tanh(0.02 * conv(x.astype(float), p)).mean((1, 2))

    return f, weights((2, 2, 1, 3))[0], small_numbers(np.int8, 4, 4, 4, 1)


@fooling("small numbers: int8 that overflows before it is cast")
def _():
    return (
        (lambda p, x: (x * x).astype(float) @ p * 0.01),
        weights((3, 2))[0],
        small_numbers(np.int8, 4, 3),
    )


@fooling("small numbers: truth values choose rows")
def _():
    def f(p, x):
        return jnp.where(x[..., None], p["a"], p["b"]).sum(1) ** 2 + jnp.logical_not(x) @ p["a"]

    return f, square(), small_numbers(bool, 4, 3, top=2)


@fooling("small numbers: uint8 as an index and as a number")
def _():
    def f(p, x):
        return p["table"][x // 20].sum(1) + x.astype(float) @ p["w"] * 0.01

    shapes = {"table": (5, 2), "w": (3, 2)}
    return (
        f,
        dict(zip(shapes, weights(*shapes.values()), strict=True)),
        small_numbers(np.uint8, 4, 3),
    )


@fooling("small numbers: bits of each number")
def _():
    def f(p, x):
        bits = (x[..., None] >> np.arange(7, dtype=np.uint8)) & 1
        return jnp.tanh(jnp.einsum("nib,bo->no", bits.astype(float), p))

    return f, weights((7, 2))[0], small_numbers(np.uint8, 4, 3)


@fooling("small numbers: an int32 counts from the end of a table")
def _():
    def f(p, x):
        return jnp.tanh(p[x]).sum(1) + p[-x].mean(1)

    return f, weights((6, 2))[0], small_numbers(np.int32, 4, 3, top=5)


@fooling("small numbers: a product of int8 and float64")
def _():
    def f(p, x):
        return lax.dot_general(
            x.astype(jnp.float32), p, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float64
        )

    return f, weights((3, 2))[0], small_numbers(np.int8, 4, 3)


@fooling("other inputs: complex numbers")
def _():
    x = jnp.asarray(normal(1, 4, 3) + 1j * normal(2, 4, 3))
    return (lambda p, x: jnp.abs(x @ p["a"] + 0.5) + (x**2 @ p["b"]).imag), square(), x


@fooling("other inputs: no axis but that of the examples")
def _():
    return (
        (lambda p, x: p["a"] * jnp.sin(p["b"] * x)),
        dict(zip("ab", weights((), ()), strict=True)),
        jnp.asarray(normal(1, 4)),
    )


@fooling("other inputs: as many examples as features and tokens")
def _():
    def f(p, x):
        return jnp.tanh(jnp.einsum("nij,jk->nki", x, p["a"]) @ p["b"])

    return f, square(), tokens(3, 3, 3)


@fooling("other inputs: an input that nothing uses")
def _():
    return (lambda p, x: jnp.broadcast_to(p["a"] @ p["b"], (len(x), 3, 3))), square(), vectors()


# ---------------------------------------------------------------------------------------------
# Examples that are moved
# ---------------------------------------------------------------------------------------------


def moved(name: str, move: Callable) -> None:
    """``move(f, x)`` applies a network to all examples, in some order, and puts them back."""

    @fooling(f"moved: {name}")
    def _():
        return (lambda p, x: move(functools.partial(mlp, p), x)), mlp_params(), vectors()


def _cycle(n: int) -> np.ndarray:
    return (np.arange(n) + 1) % n


moved("gathered in a circle", lambda f, x: f(x[_cycle(len(x))])[np.argsort(_cycle(len(x)))])
moved("turned round", lambda f, x: lax.rev(f(lax.rev(x, (0,))), (0,)))
moved("rolled by a traced number", lambda f, x: jnp.roll(f(jnp.roll(x, jnp.int32(5), 0)), -5, 0))
moved(
    "by a product with a permutation",
    lambda f, x: np.eye(len(x))[_cycle(len(x))].T @ f(np.eye(len(x))[_cycle(len(x))] @ x),
)
moved(
    "by a sort of keys",
    lambda f, x: f(x[jnp.argsort(jnp.cos(jnp.arange(len(x)) * 2.0))])[
        jnp.argsort(jnp.argsort(jnp.cos(jnp.arange(len(x)) * 2.0)))
    ],
)
moved(
    "to the back", lambda f, x: jnp.moveaxis(jax.vmap(lambda a: f(a[None])[0], -1, -1)(x.T), -1, 0)
)
moved("by vmap", lambda f, x: jax.vmap(lambda a: f(a[None])[0])(x))
moved("by vmap over two axes", lambda f, x: jax.vmap(jax.vmap(lambda a: f(a[None])[0]))(x[None])[0])
moved("by lax.map", lambda f, x: lax.map(lambda a: f(a[None])[0], x))
moved("by lax.map in pairs", lambda f, x: lax.map(lambda a: f(a[None])[0], x, batch_size=2))
moved(
    "by a loop that writes",
    lambda f, x: lax.fori_loop(
        0,
        len(x),
        lambda i, out: lax.dynamic_update_slice(
            out, f(lax.dynamic_slice(x, (i, 0), (1, 3))), (i, 0)
        ),
        jnp.zeros((len(x), 2)),
    ),
)
moved(
    "by a scan from the end",
    lambda f, x: lax.scan(lambda c, a: (c, f(a[None])[0]), 0, x, reverse=True)[1],
)
moved("by a Python loop", lambda f, x: jnp.stack([f(a[None])[0] for a in x]))
moved(
    "in two parts",
    lambda f, x: jnp.concatenate([f(x[1:]), f(x[:1])])[np.r_[len(x) - 1, 0 : len(x) - 1]],
)
moved("beside zeros", lambda f, x: f(jnp.pad(x, ((2, 1), (0, 0))))[2:-1])
moved(
    "beside copies",
    lambda f, x: f(jnp.concatenate([x, -x]))[: len(x)] - f(jnp.repeat(0.5 * x, 2, 0))[::2],
)
moved("summed with zeros between", lambda f, x: jnp.einsum("nm,mo->no", jnp.eye(len(x)), f(x)))
moved(
    "through a sum over a diagonal",
    lambda f, x: jnp.diagonal(f(x)[:, None] * jnp.ones((1, len(x), 1)), axis1=0, axis2=1).T,
)
moved(
    "added up by their numbers",
    lambda f, x: jax.ops.segment_sum(f(x), jnp.arange(len(x)), num_segments=len(x)),
)
moved(
    "taken along an axis",
    lambda f, x: jnp.take_along_axis(f(x), jnp.arange(len(x))[:, None] * jnp.ones((1, 2), int), 0),
)
moved(
    "folded with the features",
    lambda f, x: (
        f((x[..., None] * jnp.array([1.0, -0.5])).swapaxes(1, 2).reshape(-1, 3))
        .reshape(len(x), 2, 2)
        .sum(1)
    ),
)
moved(
    "features before examples",
    lambda f, x: f((x[None] * jnp.array([1.0, -0.5])[:, None, None]).reshape(-1, 3)).reshape(
        2, len(x), 2
    )[1],
)
moved(
    "split over one device",
    lambda f, x: jax.shard_map(
        f, mesh=_mesh(), in_specs=PartitionSpec("d"), out_specs=PartitionSpec("d")
    )(x),
)
moved(
    "with a constraint of where they are",
    lambda f, x: lax.with_sharding_constraint(f(x), NamedSharding(_mesh(), PartitionSpec("d"))),
)


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()[:1]), ("d",))


@fooling("moved: examples are the last axis of every product")
def _():
    def f(p, x):
        h = jnp.tanh(lax.dot_general(p["w1"], x.T, (((0,), (0,)), ((), ()))))
        return lax.dot_general(h, p["w2"], (((0,), (0,)), ((), ())))

    return f, mlp_params(), vectors()


@fooling("moved: examples are the last axis of a convolution")
def _():
    def f(p, x):
        numbers = ("HWCN", "OIHW", "CNHW")
        out = lax.conv_general_dilated(
            jnp.moveaxis(x, 0, -1), p, (2, 1), ((1, 0), (0, 2)), (1, 2), (1, 2), numbers
        )
        return jnp.tanh(out).mean((2, 3)).T

    return f, weights((3, 2, 2, 2))[0], images()


@fooling("moved: tokens are examples of a convolution")
def _():
    def f(p, x):
        rows = x.reshape(-1, 4, 2)
        out = lax.conv_general_dilated(
            rows, p, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        return jnp.tanh(out).reshape(len(x), 4, 4, 3).mean((1, 2))

    return f, weights((3, 2, 3))[0], images()


@fooling("moved: views of an example are groups of the batch")
def _():
    def f(p, x):
        def one(views):
            return lax.conv_general_dilated(
                views,
                p,
                (1,),
                "VALID",
                dimension_numbers=("NWC", "WIO", "NWC"),
                batch_group_count=2,
            )[0]

        return jnp.tanh(jax.vmap(one)(x.reshape(len(x), 2, 4, -1))).mean(1)

    return f, weights((2, 2, 4))[0], jnp.asarray(normal(4, 3, 2, 4, 2))


# ---------------------------------------------------------------------------------------------
# Trees
# ---------------------------------------------------------------------------------------------


@fooling("tree: a tuple with a key, a count, truth values and nothing")
def _():
    w, v = weights((3, 3), (3, 2))
    params = (
        jax.random.key(3),
        [w, {"seen": jnp.asarray(7), "on": jnp.array([True, False])}],
        None,
        (),
        {"v": v},
    )

    def f(p, x):
        assert p[2] is None
        noise = jax.random.normal(p[0], (3,), jnp.float64)
        return jnp.tanh(x @ p[1][0] + noise) @ p[4]["v"] * p[1][1]["on"]

    return f, params, vectors()


@fooling("tree: an old key of whole numbers")
def _():
    params = {"key": jax.random.PRNGKey(0), "w": weights((3, 2))[0]}
    return (
        (lambda p, x: x @ p["w"] + jax.random.uniform(p["key"], (2,), jnp.float64)),
        params,
        vectors(),
    )


@fooling("tree: frozen, with frozen and empty ones in it")
def _():
    params = freeze({
        "a": {"w": jnp.asarray(weights((3, 3))[0]), "nothing": {}},
        "none": {},
        "b": {"w": jnp.asarray(weights((3, 3))[0])},
    })

    def f(p, x):
        q, w = p["a"].pop("w")
        assert not q["nothing"]
        return jnp.tanh(x @ w) @ p.copy({"c": p["b"]})["c"]["w"]

    return f, params, vectors()


@fooling("tree: names that join to the same name")
def _():
    a, b, c, d = weights((3, 3), (3, 3), (3, 3), (3, 3))
    params = {"a/b": {"c": a}, "a": {"b/c": b, "b": {"c": c}}, "": {"": d}}

    def f(p, x):
        x = jnp.tanh(x @ p["a/b"]["c"]) @ p["a"]["b/c"]
        return jnp.sin(x @ p["a"]["b"]["c"]) @ p[""][""]

    return f, params, vectors()


@fooling("tree: numbered layers, of which 10 comes before 9")
def _():
    names = [f"layer_{at}" for at in range(12)]
    params = {name: {"w": 0.7 * normal(at, 2, 2), "tanh": {}} for at, name in enumerate(names)}

    def f(p, x):
        for name in names:
            x = jnp.tanh(x @ p[name]["w"]) + x
        return x

    return f, params, vectors(d=2)


@fooling("tree: whole numbers and words as keys")
def _():
    params = [{10: weights((3, 3))[0], 9: {2: weights((3, 2))[0]}}, {"10": weights((3, 3))[0] + 1}]
    return (lambda p, x: jnp.tanh(x @ p[0][10] @ p[1]["10"]) @ p[0][9][2]), params, vectors()


@fooling("tree: one array in two places")
def _():
    w = jnp.asarray(weights((3, 3))[0])
    return (lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"]), {"a": w, "b": w}, vectors()


@fooling("tree: numbers of Python and NumPy beside arrays", NARROW)
def _():
    params = {
        "w": weights((3, 2))[0],
        "gain": 1.5,
        "times": 3,
        "on": True,
        "shift": np.float64(0.5),
        "f32": np.float32(2),
        "none": None,
    }

    def f(p, x):
        return jnp.tanh(p["gain"] * (x @ p["w"]) + p["shift"] * p["times"]) * p["f32"] + p["on"]

    return f, params, vectors()


@jax.tree_util.register_pytree_node_class
class Keyless:
    """A module whose type tells no names of its leaves."""

    def __init__(self, w, inner, static):
        self.w, self.inner, self.static = w, inner, static

    def tree_flatten(self):
        return (self.w, self.inner), self.static

    @classmethod
    def tree_unflatten(cls, static, leaves):
        return cls(*leaves, static)

    def __call__(self, x):
        h = self.static(x @ self.w)
        return h if self.inner is None else self.inner(h)


@fooling("tree: modules that are trees without names")
def _():
    a, b = weights((3, 4), (4, 2))
    return (lambda p, x: p(x)), Keyless(a, Keyless(b, None, jnp.sin), jnp.tanh), vectors()


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["w", "step", "b"], meta_fields=["act"]
)
@dataclass(frozen=True)
class Layer:
    """As Equinox has them: arrays and what is static in one."""

    w: Any
    b: Any
    step: Any
    act: Any

    def __call__(self, x):
        return self.act(x @ self.w + self.b)


@fooling("tree: dataclasses with a count of steps and an activation")
def _():
    a, b, c = weights((3, 4), (4,), (4, 2))
    params = [Layer(a, b, jnp.asarray(3), jnp.tanh), Layer(c, None, None, lambda h: h)]

    def f(p, x):
        first, second = p
        return first(x) @ second.w * (first.step + 1)

    return f, params, vectors()


@flax.struct.dataclass
class Struct:
    """Flax's dataclass."""

    w: Any
    name: str = flax.struct.field(pytree_node=False)
    rest: Any = None


class Named(NamedTuple):
    """A node with names."""

    weight: Any
    count: Any
    empty: Any = ()


@fooling("tree: Flax's dataclass in a NamedTuple")
def _():
    params = Named(Struct(weights((3, 2))[0], "dense", {"v": weights((2, 2))[0]}), jnp.arange(3))
    return (
        (lambda p, x: jnp.tanh(x @ p.weight.w * p.count.sum()) @ p.weight.rest["v"]),
        params,
        vectors(),
    )


@fooling("tree: a function with bound arguments")
def _():
    params = jax.tree_util.Partial(
        lambda w, v, x: jnp.tanh(x @ w) @ v, *map(jnp.asarray, weights((3, 3), (3, 2)))
    )
    return (lambda p, x: p(x)), params, vectors()


@fooling("tree: a state of training with moments of Adam")
def _():
    net, x = TwoLayers(), vectors()
    params = net.init(jax.random.key(0), x)["params"]
    state = TrainState.create(apply_fn=net.apply, params=params, tx=optax.adam(0.1))
    return (lambda s, x: s.apply_fn({"params": s.params}, x)), state, x


@fooling("tree: parameters and their average, of which the average is used")
def _():
    params = {
        "fast": mlp_params(),
        "slow": jax.tree.map(lambda w: w + 0.1, mlp_params()),
        "decay": 0.9,
        "steps": jnp.asarray(10),
    }
    return (lambda p, x: mlp(p["slow"], x) + 0.0 * mlp(p["fast"], x)), params, vectors()


@fooling("tree: boxes that tell how arrays are spread")
def _():
    class Spread(nn.Module):
        @nn.compact
        def __call__(self, x):
            start = nn.with_partitioning(nn.initializers.normal(1.0), (None, "d"))
            return jnp.tanh(nn.Dense(2, kernel_init=start, **WIDE)(x))

    net, x = Spread(), vectors()
    return (lambda p, x: net.apply({"params": p}, x)), net.init(jax.random.key(0), x)["params"], x


class NnxNet(nnx.Module):
    """Layers in a list, a variable of its own kind, and keys."""

    def __init__(self):
        rngs = nnx.Rngs(0, dropout=1)
        kinds = {"param_dtype": jnp.float64, "rngs": rngs}
        self.layers = nnx.List([nnx.Linear(3, 3, **kinds), nnx.Linear(3, 2, **kinds)])
        self.gain = nnx.Param(jnp.asarray(1.5))
        self.count = nnx.Variable(jnp.asarray(3))
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        h = self.drop(jnp.tanh(self.layers[0](x)) * self.gain[...])
        return self.layers[1](h) * self.count[...]


@fooling("tree: the whole state of NNX")
def _():
    net = NnxNet()
    net.eval()
    graph, state = nnx.split(net)
    return (lambda s, x: nnx.merge(graph, s)(x)), state, vectors()


@fooling("tree: the state of NNX as plain dictionaries")
def _():
    net = NnxNet()
    net.eval()
    graph, params, rest = nnx.split(net, nnx.Param, ...)

    def f(p, x):
        state = nnx.State(jax.tree.map(lambda leaf: leaf, params))
        nnx.replace_by_pure_dict(state, p)
        return nnx.merge(graph, state, rest)(x)

    return f, nnx.to_pure_dict(params), vectors()


@fooling("tree: an array of its own kind, sparse")
def _():
    params = sparse.BCOO(
        (jnp.asarray(weights((3,))[0]), jnp.asarray([[0, 1], [2, 0], [1, 1]])), shape=(3, 2)
    )
    return (lambda p, x: jnp.tanh(x @ p)), params, vectors()


@fooling("tree: whole numbers with a learnt scale")
def _():
    params = {"q": small_numbers(np.int8, 3, 4), "scale": weights((4,))[0], "zero": weights(())[0]}
    return (
        (lambda p, x: jnp.tanh(x @ ((p["q"].astype(float) - p["zero"]) * p["scale"] * 0.02))),
        params,
        vectors(),
    )


@fooling("tree: float32 and float64 together", NARROW)
def _():
    a, b = weights((3, 3), (3, 2))
    return (
        (lambda p, x: jnp.tanh(x.astype("float32") @ p["a"]) @ p["b"]),
        {"a": a.astype(np.float32), "b": b},
        vectors(),
    )


@fooling("tree: arrays without entries")
def _():
    params = {"none": np.zeros((0, 2)), "layers": np.zeros((0, 3, 3)), "w": weights((3, 2))[0]}

    def f(p, x):
        h = lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["layers"])[0]
        return h @ p["w"] + x[:, :0] @ p["none"]

    return f, params, vectors()


@fooling("tree: a single number")
def _():
    return (lambda p, x: jnp.sin(p * x) * p), weights(())[0], vectors()


# ---------------------------------------------------------------------------------------------
# What a function closes over, and changes between calls
# ---------------------------------------------------------------------------------------------


@fooling("closure: a constant that was another one when the kernel was last taken")
def _():
    box = {"gain": jnp.asarray(1.0)}
    params, x = mlp_params(), vectors()

    def f(p, x):
        return mlp(p, x * box["gain"])

    empirical_ntk(f, jax.tree.map(jnp.asarray, params), x, outputs="trace")
    box["gain"] = jnp.asarray([3.0, 2.0, 1.0])
    return f, params, x


@fooling("closure: a module that got another activation")
def _():
    class Net:
        act = staticmethod(jnp.tanh)

        def __call__(self, p, x):
            return self.act(x @ p["a"]) @ p["b"]

    net, params, x = Net(), square(), vectors()

    def f(p, x):
        return net(p, x)

    empirical_ntk(f, jax.tree.map(jnp.asarray, params), x, outputs="trace")
    net.act = jnp.sin
    return f, params, x


@fooling("closure: a list of layers that grew")
def _():
    layers, params, x = [jnp.tanh], square(), vectors()

    def f(p, x):
        h = x @ p["a"]
        for layer in layers:
            h = layer(h)
        return h @ p["b"]

    empirical_ntk(f, jax.tree.map(jnp.asarray, params), x, outputs="trace")
    layers.append(lambda h: h**2)
    return f, params, x


# ---------------------------------------------------------------------------------------------
# Uses of parameters
# ---------------------------------------------------------------------------------------------


@fooling("used: only through stop_gradient")
def _():
    return (lambda p, x: x @ p["a"] * lax.stop_gradient(jnp.tanh(x @ p["b"]))), square(), vectors()


@fooling("used: reaches no output")
def _():
    def f(p, x):
        unused = x @ p["b"]
        return (x @ p["a"], unused)[0]

    return f, square(), vectors()


@fooling("used: nothing but constants")
def _():
    return (lambda p, x: x**2 + 0.0), square(), vectors()


@fooling("used: as data, its square before the product")
def _():
    return (
        (lambda p, x: (p["a"] * p["a"] @ x.T).T + jnp.square(p["b"]) @ p["b"][0]),
        square(),
        vectors(3),
    )


@fooling("used: the output is the parameter")
def _():
    return (lambda p, x: jnp.broadcast_to(p, (len(x), *p.shape))), weights((3, 2))[0], vectors()


@fooling("used: the output is a function of parameters alone")
def _():
    return (lambda p, x: jnp.stack([jnp.tanh(p["a"] @ p["b"])] * len(x))), square(), vectors()


@fooling("used: an output of parameters beside one of data")
def _():
    def f(p, x):
        return jnp.concatenate([x @ p["a"], jnp.tile(p["b"][0], (len(x), 1))], axis=1)

    return f, square(), vectors()


@fooling("used: numbers without axes")
def _():
    def f(p, x):
        return p["gain"] * jnp.tanh(x * p["gain"] + p["shift"]) ** 2 - p["shift"]

    return f, dict(zip(("gain", "shift"), weights((), ()), strict=True)), vectors()


@fooling("used: as a bound on an index, without derivative")
def _():
    def f(p, x):
        return x @ p["a"] * p["b"][jnp.argmax(p["b"][0]), jnp.sum(p["b"] > 0) % 3]

    return f, square(), vectors()


@fooling("used: where a comparison of two parameters says")
def _():
    return (
        (lambda p, x: jnp.where(p["a"][0] > p["b"][0], x @ p["a"], x * p["b"][1])),
        square(),
        vectors(),
    )


@fooling("used: as an exponent and as a base")
def _():
    return (lambda p, x: jnp.abs(x) ** p["a"][0] + (p["b"][0] ** 2 + 0.1) ** x), square(), vectors()


@fooling("used: as the filter and as the image")
def _():
    def f(p, x):
        both = jnp.concatenate(
            [x, jnp.broadcast_to(p[None, :, :, :, 0], (len(x), 2, 2, 2))], axis=1
        )
        h = conv(both.reshape(len(x), -1, 2, 2), p, padding="VALID")
        return jnp.tanh(h).mean((1, 2))

    return f, weights((2, 2, 2, 3))[0], jnp.asarray(normal(3, 4, 4, 2, 2))


@fooling("used: data are the filter of a learnt image")
def _():
    def f(p, x):
        def one(filters):
            return conv(p, filters[..., None], padding="VALID")[0]

        return jax.vmap(one)(x).reshape(len(x), -1)

    return f, weights((1, 3, 3, 2))[0], jnp.asarray(normal(3, 3, 2, 2, 2))


@fooling("used: on both sides of the data")
def _():
    return (
        (lambda p, x: jnp.einsum("ij,njk,kl->nil", p["a"], jnp.einsum("ni,nj->nij", x, x), p["a"])),
        square(),
        vectors(),
    )


@fooling("used: embedding, tied to the readout, and its norm added")
def _():
    def f(p, x):
        h = jnp.tanh(p["words"][x] + p["places"][None]).mean(1)
        return h @ p["words"].T - 0.5 * jnp.sum(p["words"] ** 2, axis=1)

    x = small_numbers(np.int64, 4, 3, top=5)
    return f, dict(zip(("words", "places"), weights((5, 2), (3, 2)), strict=True)), x


@fooling("used: a table read where other parameters and data say")
def _():
    def f(p, x):
        at = jnp.floor(2.0 * (x @ p["a"]) + 0.3).astype(jnp.int32) % 3
        return p["b"][at, np.arange(3)] * x + p["b"][0, at]

    return f, square(), vectors()


@fooling("used: a grid, interpolated where the data say")
def _():
    def f(p, x):
        where = [1.0 + jnp.tanh(x[:, 0]), 1.0 + jnp.tanh(x[:, 1] * p["gain"])]
        return jax.scipy.ndimage.map_coordinates(p["grid"], where, order=1)

    return f, dict(zip(("grid", "gain"), weights((3, 3), ()), strict=True)), vectors()


@fooling("used: heights of a curve")
def _():
    knots = np.linspace(-2, 2, 5)
    return (
        (lambda p, x: jnp.interp(x, knots, p["heights"]) @ p["w"]),
        dict(zip(("heights", "w"), weights((5,), (3, 2)), strict=True)),
        vectors(),
    )


@fooling("used: coefficients of polynomials")
def _():
    return (
        (
            lambda p, x: (
                jnp.polyval(p["c"], x) + jax.vmap(lambda a: jnp.convolve(a, p["k"], "same"))(x)
            )
        ),
        dict(zip("ck", weights((4,), (2,)), strict=True)),
        vectors(),
    )


@fooling("used: centres that data are compared with")
def _():
    def f(p, x):
        distance = jnp.sum((x[:, None] - p["centres"]) ** 2, axis=-1)
        return jnp.exp(-distance * jnp.exp(p["widths"])) @ p["w"]

    shapes = {"centres": (4, 3), "widths": (4,), "w": (4, 2)}
    return f, dict(zip(shapes, weights(*shapes.values()), strict=True)), vectors()


@fooling("used: written into a memory at a place that the data say")
def _():
    def f(p, x):
        def one(a):
            at = jnp.argmax(a)
            memory = p["memory"].at[at].add(a)
            memory = memory.at[(at + 1) % 3].multiply(p["gain"])
            return jax.nn.softmax(memory @ a) @ memory

        return jax.vmap(one)(x)

    return f, dict(zip(("memory", "gain"), weights((3, 3), (3,)), strict=True)), vectors()


@fooling("used: sorted together with data")
def _():
    def f(p, x):
        keys, carried = lax.sort((x, jnp.broadcast_to(p["v"], x.shape)), dimension=1, num_keys=1)
        return keys * carried + jnp.sort(x + p["s"], axis=1)

    return f, dict(zip("vs", weights((3,), (3,)), strict=True)), vectors()


@fooling("used: the largest of products")
def _():
    return (
        (lambda p, x: lax.top_k(x @ p["a"], 2)[0] + jnp.max(x @ p["b"], axis=1, keepdims=True)),
        square(),
        vectors(),
    )


@fooling("used: adapted to every example by a step of gradient descent")
def _():
    def f(p, x):
        def one(a):
            def loss(w):
                return jnp.sum((jnp.tanh(a @ w) - a) ** 2)

            return jnp.tanh(a @ (p["a"] - 0.3 * jax.grad(loss)(p["a"]))) @ p["b"]

        return jax.vmap(one)(x)

    return f, square(), vectors()


@fooling("used: a force, the gradient of an energy")
def _():
    def f(p, x):
        return -jax.grad(lambda x: jnp.sum(jnp.tanh(x @ p["a"]) @ p["b"] ** 2))(x)

    return f, square(), vectors()


@fooling("used: a Laplacian, and a derivative along a direction")
def _():
    def f(p, x):
        def one(a):
            def u(a):
                return jnp.sum(jnp.sin(a @ p["a"]) * p["b"][0])

            along = jax.jvp(u, (a,), (jnp.ones(3),))[1]
            return jnp.stack([jnp.trace(jax.hessian(u)(a)), along])

        return jax.vmap(one)(x)

    return f, square(), vectors()


@fooling("used: through a linearised copy")
def _():
    def f(p, x):
        start = jax.tree.map(lambda w: lax.stop_gradient(w), p)
        change = jax.tree.map(lambda w, s: w - s + 0.1, p, start)
        out, tangent = jax.jvp(lambda q: mlp(q, x), (start,), (change,))
        return out + tangent

    return f, mlp_params(), vectors()


@fooling("used: twice in one product")
def _():
    return (
        (lambda p, x: jnp.einsum("ni,ij,jk,kl->nl", x, p["a"], p["a"].T, p["a"])),
        square(),
        vectors(),
    )


@fooling("used: by two heads of which one is stopped")
def _():
    def f(p, x):
        h = jnp.tanh(x @ p["a"])
        return jnp.concatenate([h @ p["b"], lax.stop_gradient(h) @ p["b"].T], axis=1)

    return f, square(), vectors()


@fooling("used: by a student whose teacher has the same weights")
def _():
    def f(p, x):
        teacher = mlp(jax.tree.map(lax.stop_gradient, p), 0.9 * x)
        return (mlp(p, x) - teacher) ** 2

    return f, mlp_params(), vectors()


@fooling("used: seven times in seven ways")
def _():
    def f(p, x):
        w = p["a"]
        h = x @ w + x @ w.T + w[0] + w[:, 1] * x + jnp.einsum("ni,ij,nj->n", x, w, x)[:, None]
        return h + jnp.linalg.det(w) + x[:, :1] ** 2 * w.sum() + x @ w[jnp.array([2, 0, 1])]

    return f, square(), vectors()


# ---------------------------------------------------------------------------------------------
# Rules of one's own
# ---------------------------------------------------------------------------------------------


def ruled(name: str, make: Callable) -> None:
    """A function of weights and data whose derivative is what it says."""

    @fooling(f"rule: {name}")
    def _():
        rule = make()

        def f(p, x):
            return rule(p["b"], jnp.tanh(x @ p["a"])) + x @ p["b"]

        return f, square(), vectors()


def _rule(forward: Callable, backward: Callable) -> Callable:
    own = jax.custom_vjp(forward)
    own.defvjp(lambda w, h: (forward(w, h), (w, h)), backward)
    return own


def _matmul(w, h):
    return h @ w


ruled("a product, right", lambda: _rule(_matmul, lambda k, c: (k[1].T @ c, c @ k[0].T)))
ruled(
    "a product, weights three times",
    lambda: _rule(_matmul, lambda k, c: (3.0 * k[1].T @ c, c @ k[0].T)),
)
ruled(
    "a product, data stopped",
    lambda: _rule(_matmul, lambda k, c: (k[1].T @ c, jnp.zeros_like(k[1]))),
)
ruled(
    "a product, weights transposed on the way back",
    lambda: _rule(_matmul, lambda k, c: (k[1].T @ c, c @ k[0])),
)
ruled(
    "a product, fixed feedback",
    lambda: _rule(_matmul, lambda k, c: (k[1].T @ c, c @ VALUES[:, :3])),
)
ruled(
    "a product, weights get what is no product",
    lambda: _rule(_matmul, lambda k, c: (jnp.full_like(k[0], c.sum()), c)),
)
ruled("in a jit", lambda: jax.jit(_rule(_matmul, lambda k, c: (0.5 * k[1].T @ c, c))))
ruled("in a checkpoint", lambda: jax.checkpoint(_rule(_matmul, lambda k, c: (0.5 * k[1].T @ c, c))))
ruled(
    "in a cond",
    lambda: (
        lambda w, h: lax.cond(
            jnp.array(True), _rule(_matmul, lambda k, c: (0.5 * k[1].T @ c, c)), _matmul, w, h
        )
    ),
)
ruled(
    "in a scan",
    lambda: (
        lambda w, h: lax.scan(
            lambda h, _: (_rule(_matmul, lambda k, c: (0.5 * k[1].T @ c, c))(w, h), None),
            h,
            length=2,
        )[0]
    ),
)
ruled(
    "in a vmap over examples",
    lambda: (
        lambda w, h: jax.vmap(
            lambda a: _rule(_matmul, lambda k, c: (2.0 * jnp.outer(k[1], c), c))(w, a)
        )(h)
    ),
)
ruled(
    "custom_gradient",
    lambda: (
        lambda w, h: jax.custom_gradient(lambda w, h: (h @ w, lambda c: (0.3 * h.T @ c, c @ w.T)))(
            w, h
        )
    ),
)


@fooling("rule: with an argument without derivative and a whole number")
def _():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def applied(act, w, h, times):
        return act(h @ w) * times

    def backward(act, kept, c):
        w, h = kept
        return h.T @ c, c @ w.T, None

    applied.defvjp(lambda act, w, h, times: (applied(act, w, h, times), (w, h)), backward)
    return (lambda p, x: applied(jnp.sin, p["b"], x @ p["a"], 2)), square(), vectors()


@fooling("rule: forward derivative of a product, half of it")
def _():
    @jax.custom_jvp
    def product(w, h):
        return h @ w

    @product.defjvp
    def _(primals, tangents):
        (w, h), (dw, dh) = primals, tangents
        return h @ w, 0.5 * (h @ dw) + dh @ w

    return (
        (lambda p, x: jax.jit(product)(p["b"], jnp.tanh(product(p["a"], x)))),
        square(),
        vectors(),
    )


@fooling("rule: data gradient turned round")
def _():
    @jax.custom_vjp
    def turned(h):
        return h

    turned.defvjp(lambda h: (h, None), lambda _, c: (-c,))
    return (
        (lambda p, x: (lambda h: h @ p["b"] + turned(h) @ p["a"].T)(jnp.tanh(x @ p["a"]))),
        square(),
        vectors(),
    )


@fooling("rule: a solver of a fixed point")
def _():
    def f(p, x):
        def distance(z):
            return z - jnp.tanh(x + 0.2 * z @ p["a"])

        def solve(f, z):
            return lax.fori_loop(0, 60, lambda _, z: z - f(z), z)

        def tangent_solve(g, y):
            return lax.fori_loop(0, 60, lambda _, z: z - (g(z) - y), y)

        return lax.custom_root(distance, jnp.zeros_like(x), solve, tangent_solve) @ p["b"]

    return f, square(), vectors()


@fooling("rule: conjugate gradients")
def _():
    def f(p, x):
        def one(a):
            matrix = 2.0 * jnp.eye(3) + p["a"] @ p["a"].T
            return jax.scipy.sparse.linalg.cg(lambda v: matrix @ v, a, tol=1e-14)[0]

        return jax.vmap(one)(x) @ p["b"]

    return f, square(), vectors()


# ---------------------------------------------------------------------------------------------
# Linear algebra, loops, calls and layers that are rarely met
# ---------------------------------------------------------------------------------------------


def positive(p: Any) -> jax.Array:
    return p["a"] @ p["a"].T + 2.0 * jnp.eye(3)


simple("algebra: a linear system", lambda p, x: jnp.linalg.solve(positive(p), x.T).T @ p["b"])
simple(
    "algebra: a triangular system",
    lambda p, x: lax.linalg.triangular_solve(positive(p), x, lower=True) @ p["b"],
)
simple(
    "algebra: one triangular system an example",
    lambda p, x: jax.vmap(
        lambda a: jax.scipy.linalg.solve_triangular(
            positive(p) + jnp.diag(jnp.abs(a)), a @ p["b"], lower=True
        )
    )(x),
)
simple(
    "algebra: a determinant an example",
    lambda p, x: jnp.linalg.slogdet(positive(p) + jnp.einsum("ni,nj->nij", x, x))[1],
)
simple(
    "algebra: eigenvalues an example",
    lambda p, x: jnp.linalg.eigvalsh(
        positive(p) + jnp.diag(jnp.arange(3.0)) + jnp.einsum("ni,nj->nij", x, x)
    ),
)
simple(
    "algebra: an inverse an example",
    lambda p, x: jnp.einsum(
        "nij,nj->ni", jnp.linalg.inv(positive(p) + jnp.einsum("ni,nj->nij", x, x)), x @ p["b"]
    ),
)
simple(
    "algebra: a Cholesky factor an example",
    lambda p, x: jnp.linalg.cholesky(positive(p) + jnp.einsum("ni,nj->nij", x, x)).sum(1),
)
simple(
    "algebra: QR an example",
    lambda p, x: jnp.linalg.qr(p["a"] + jnp.einsum("ni,nj->nij", x, x))[1].sum(1),
)
simple("algebra: least squares", lambda p, x: x @ jnp.linalg.pinv(positive(p)) @ p["b"])
simple(
    "calls: a callback that only looks",
    lambda p, x: (jax.debug.callback(lambda h: None, x @ p["a"]), jnp.tanh(x @ p["a"]) @ p["b"])[1],
)
simple(
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
simple(
    "calls: a mean over a named axis of tokens",
    lambda p, x: jax.vmap(
        lambda t: jnp.tanh(t @ p["a"]) - lax.pmean(t @ p["b"], "t"), 1, 1, axis_name="t"
    )(x).sum(1),
    x=lambda: tokens(4, 3, 3),
)
simple(
    "calls: names for a policy",
    lambda p, x: jax.checkpoint(
        lambda p, x: checkpoint_name(jnp.tanh(x @ checkpoint_name(p["a"], "w")), "h") @ p["b"],
        policy=jax.checkpoint_policies.save_only_these_names("h"),
    )(p, x),
)
simple(
    "calls: static arguments of a checkpoint",
    lambda p, x: jax.checkpoint(lambda p, x, act: act(x @ p["a"]) @ p["b"], static_argnums=2)(
        p, x, jnp.tanh
    ),
)
simple(
    "calls: one jitted function, called with two weights",
    lambda p, x: (lambda g: g(p["a"], g(p["b"], g(p["a"].T, x))))(
        jax.jit(lambda w, h: jnp.tanh(h @ w))
    ),
)
simple(
    "calls: precision told",
    lambda p, x: jnp.matmul(
        jnp.tanh(jnp.matmul(x, p["a"], precision="highest")),
        p["b"],
        preferred_element_type=jnp.float64,
    ),
)
simple(
    "calls: a while loop that counts",
    lambda p, x: (
        x @ p["a"] * lax.while_loop(lambda i: i < 5, lambda i: i + 2, jnp.int32(0)) + x @ p["b"]
    ),
)
simple(
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
simple(
    "loops: in loops in loops",
    lambda p, x: lax.fori_loop(
        0,
        2,
        lambda i, h: lax.fori_loop(
            0,
            2,
            lambda j, h: lax.scan(
                lambda h, k: (jnp.tanh(h @ p["a"] + (i + j) * p["b"][k]), None), h, jnp.arange(2)
            )[0],
            h,
        ),
        x,
    ),
)
simple(
    "loops: of one step, in which the weight is used twice",
    lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h @ w) @ w.T, None), x, p["a"][None])[0] @ p["b"],
)
simple(
    "loops: the same stack up and down",
    lambda p, x: lax.scan(
        lambda h, w: (jnp.tanh(h + w), None),
        lax.scan(lambda h, w: (jnp.tanh(h * w), None), x, p["a"])[0],
        p["a"],
        reverse=True,
    )[0],
)
simple(
    "loops: halves of one stack",
    lambda p, x: (
        lax.scan(
            lambda h, w: (jnp.sin(h + w), None),
            lax.scan(lambda h, w: (jnp.tanh(h * w), None), x, p["a"][:2])[0],
            p["a"][1:],
        )[0]
        @ p["b"]
    ),
)
simple(
    "loops: a stack scanned over and used as a whole",
    lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h * w), None), x, p["a"])[0] @ p["a"],
)
simple(
    "loops: a window of the stack at each step",
    lambda p, x: lax.fori_loop(
        0, 2, lambda i, h: jnp.tanh(h @ lax.dynamic_slice(p["a"], (i, 0), (2, 3)).T @ p["b"][:2]), x
    ),
)
simple(
    "loops: unrolled in part",
    lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h * w + h @ p["b"]), h), x, p["a"], unroll=2)[1][
        2
    ],
)
simple(
    "loops: a linear recurrence by halves",
    lambda p, x: lax.associative_scan(
        lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]),
        (jnp.broadcast_to(jax.nn.sigmoid(p["a"][0]), x.shape), x @ p["b"]),
        axis=1,
    )[1].sum(1),
    x=lambda: tokens(4, 3, 3),
)
simple(
    "loops: a recurrent network with a learnt start",
    lambda p, x: lax.scan(
        lambda c, a: (jnp.tanh(a @ p["a"] + c @ p["b"]),) * 2,
        jnp.tile(p["b"][0], (len(x), 1)),
        x.swapaxes(0, 1),
    )[1].sum(0),
    x=lambda: tokens(4, 3, 3),
)
simple(
    "loops: four steps of Runge and Kutta",
    lambda p, x: lax.fori_loop(
        0,
        2,
        lambda _, y: (
            lambda k1: (lambda k2: y + 0.1 * (k1 + 2 * k2))(
                jnp.tanh((y + 0.1 * k1) @ p["a"] + p["b"][0])
            )
        )(jnp.tanh(y @ p["a"] + p["b"][0])),
        x,
    ),
)
simple(
    "layers: a normalisation whose mean is learnt",
    lambda p, x: (x - p["a"][0]) / jnp.sqrt(jnp.var(x, axis=1, keepdims=True) + p["b"][0] ** 2),
)
simple(
    "layers: attention of JAX's own",
    lambda p, x: jax.nn.dot_product_attention(
        *((x @ p[k])[:, :, None] for k in "aba"), is_causal=True
    )[:, :, 0].mean(1),
    x=lambda: tokens(4, 3, 3),
)
simple(
    "layers: experts, each of its own tokens",
    lambda p, x: jnp.einsum(
        "ne,no->no",
        jax.nn.softmax(x @ p["b"]),
        jnp.einsum(
            "ni,nio->no", x, jnp.stack([p["a"], p["a"].T, p["b"]])[jnp.argmax(x @ p["b"], axis=1)]
        ),
    ),
)
simple(
    "layers: maximum of rows",
    lambda p, x: jnp.max(x[:, :, None] + p["a"], axis=1) + jnp.min(x[:, :, None] * p["b"], axis=1),
)
simple(
    "layers: log of sums, of products, of means",
    lambda p, x: (
        jax.nn.logsumexp(x[:, :, None] + p["a"], axis=1)
        + jnp.prod(1 + 0.3 * x[:, :, None] * p["b"], axis=1)
    ),
)
simple(
    "layers: special functions",
    lambda p, x: (
        jax.scipy.special.gammaln(1.5 + (x * p["a"][0]) ** 2)
        + jax.scipy.special.erf(x @ p["b"])
        + jax.scipy.special.i0e(x * p["a"][1])
    ),
)
simple(
    "layers: select among many",
    lambda p, x: jnp.select(
        [x > 0.7, x > -0.2, x > -0.9], [x @ p["a"], x * p["b"][0], p["a"][0] + 0 * x], p["b"][1]
    ),
)
simple(
    "layers: piecewise",
    lambda p, x: jnp.piecewise(
        x,
        [x < -0.3, x >= 0.3],
        [
            lambda v: v * p["a"][0, 0],
            lambda v: v**2 * p["b"][0, 0],
            lambda v: jnp.sin(v * p["a"][1, 1]),
        ],
    ),
)
simple(
    "layers: sign, floor and rest",
    lambda p, x: jnp.sign(x @ p["a"]) * (x @ p["b"]) + jnp.floor(x @ p["a"]) + (x @ p["a"]) % 0.7,
)
simple(
    "layers: noise of a fixed key, the same for all examples",
    lambda p, x: (
        jnp.tanh(x @ p["a"] + jax.random.normal(jax.random.key(1), (3,), jnp.float64)) @ p["b"]
    ),
)


@fooling("layers: a cell of Flax in a loop of Flax, over stacked layers")
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


@fooling("layers: a table of Flax that reads in and out, and layers mapped over heads")
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


# ---------------------------------------------------------------------------------------------
# No kernel of single examples
# ---------------------------------------------------------------------------------------------


def coupled(name: str, f: Callable, params: Callable = mlp_params, x: Callable = vectors) -> None:
    @refused(name)
    def _():
        return f, params(), x()


def _standard(h: jax.Array) -> jax.Array:
    return (h - h.mean(0)) / jnp.sqrt(h.var(0) + 0.01)


def _bernoulli(*shape: int) -> jax.Array:
    return jax.random.bernoulli(jax.random.key(5), 0.5, shape)


coupled("batch norm by hand, learnt", lambda p, x: _standard(jnp.tanh(x @ p["w1"])) @ p["w2"])
coupled("batch norm of the input, in which no parameter is", lambda p, x: mlp(p, _standard(x)))
coupled(
    "batch norm whose statistics are stopped",
    lambda p, x: (
        lambda h: ((h - lax.stop_gradient(h.mean(0))) / lax.stop_gradient(h.std(0) + 0.1)) @ p["w2"]
    )(jnp.tanh(x @ p["w1"])),
)
coupled(
    "mean of the batch subtracted, stopped",
    lambda p, x: mlp(p, x) - lax.stop_gradient(mlp(p, x).mean(0)),
)
coupled(
    "batch norm in a jit in a scan",
    lambda p, x: (
        lax.scan(
            lambda h, _: (jax.jit(_standard)(jnp.tanh(h @ p["w1"] @ p["w1"].T)), None), x, length=2
        )[0]
        @ p["w1"]
    ),
)
coupled(
    "dropout with a fixed key",
    lambda p, x: jnp.where(_bernoulli(len(x), 4), jnp.tanh(x @ p["w1"]), 0.0) @ p["w2"],
)
coupled(
    "noise of a fixed key, for each example",
    lambda p, x: mlp(p, x + jax.random.normal(jax.random.key(1), x.shape, x.dtype)),
)
coupled(
    "whole examples dropped from a branch",
    lambda p, x: x[:, :2] + mlp(p, x) * _bernoulli(len(x), 1),
)
coupled("mixed with the next one", lambda p, x: mlp(p, 0.7 * x + 0.3 * jnp.roll(x, 1, 0)))
coupled("turned round", lambda p, x: mlp(p, x)[::-1])
coupled("softmax over the batch", lambda p, x: jax.nn.softmax(mlp(p, x), axis=0))
coupled(
    "similarity to the others",
    lambda p, x: (lambda z: jax.nn.softmax(z @ z.T, axis=1) @ z)(mlp(p, x)),
)
coupled("sorted over the batch", lambda p, x: jnp.sort(mlp(p, x), axis=0))
coupled(
    "rank in the batch as a feature",
    lambda p, x: mlp(p, x + 0.1 * jnp.argsort(jnp.argsort(x, axis=0), axis=0)),
)
coupled("divided by the largest", lambda p, x: mlp(p, x / jnp.abs(x).max()))
coupled("divided by the norm of the batch", lambda p, x: mlp(p, x / jnp.linalg.norm(x)))
coupled("divided by the number of examples", lambda p, x: mlp(p, x) / len(x))
coupled(
    "multiplied by the number in the batch",
    lambda p, x: mlp(p, x) * (1.0 + jnp.arange(len(x))[:, None]),
)
coupled(
    "each other example another member of an ensemble",
    lambda p, x: mlp(p, x) * p["w2"][jnp.arange(len(x)) % 4],
)
coupled("less the first one", lambda p, x: mlp(p, x - x[:1]))
coupled("added up along the batch", lambda p, x: jnp.cumsum(mlp(p, x), axis=0))
coupled(
    "one goes from example to example",
    lambda p, x: (
        lax.scan(lambda c, a: (jnp.tanh(a @ p["w1"]) + 0.5 * c,) * 2, jnp.zeros(4), x)[1] @ p["w2"]
    ),
)
coupled(
    "a branch that the batch chooses",
    lambda p, x: lax.cond(x.sum() > x[0].sum(), mlp, lambda p, x: 2.0 * mlp(p, x), p, x),
)
coupled(
    "a bias for the one with the largest sum",
    lambda p, x: mlp(p, x) + p["w2"][0] * (x.sum(1, keepdims=True) >= x.sum(1).max()),
)
coupled(
    "folded in the wrong order",
    lambda p, x: (
        mlp(p, jnp.swapaxes(x[None] * jnp.ones((2, 1, 1)), 0, 0).reshape(-1, 3))
        .reshape(len(x), 2, 2)
        .sum(1)
    ),
)
coupled(
    "a convolution over the batch",
    lambda p, x: mlp(p, 0.7 * x + 0.3 * jnp.pad(x, ((1, 0), (0, 0)))[:-1]),
)
coupled(
    "a mean over a named axis of examples",
    lambda p, x: jax.vmap(lambda a: mlp(p, a[None] - lax.pmean(a, "n"))[0], axis_name="n")(x),
)
coupled(
    "int8 images less the mean image",
    lambda p, x: mlp(p, x.astype(float) * 0.01 - x.astype(float).mean(0) * 0.01),
    x=lambda: small_numbers(np.int8, 4, 3),
)
coupled(
    "words that are counted in the whole batch",
    lambda p, x: p["w1"][x].sum(1) / jnp.bincount(x.reshape(-1), length=3).astype(float).sum(),
    x=lambda: small_numbers(np.int32, 4, 3, top=3),
)


@refused("a rule that subtracts the mean of the batch on the way back")
def _():
    @jax.custom_vjp
    def centred(h):
        return h

    centred.defvjp(lambda h: (h, None), lambda _, c: (c - c.mean(0),))
    return (lambda p, x: centred(jnp.tanh(x @ p["w1"])) @ p["w2"]), mlp_params(), vectors()


def of_flax(name: str, make: Callable, x: Callable = vectors, **options: Any) -> None:
    @refused(name)
    def _():
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                h = jnp.tanh(nn.Dense(4, **WIDE)(x))
                h = make()(h)
                return nn.Dense(2, **WIDE)(h if h.ndim == 2 else h.mean(1))

        net = Net()
        given = x()
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        variables = net.init(keys, given)
        params = variables.pop("params")

        def f(p, x):
            out = net.apply(
                {**variables, "params": p}, x, rngs={"dropout": jax.random.key(2)}, **options
            )
            return out[0] if options else out

        return f, params, given


of_flax("dropout of Flax", lambda: nn.Dropout(0.5, deterministic=False))
of_flax(
    "dropout of whole examples", lambda: nn.Dropout(0.5, broadcast_dims=(1,), deterministic=False)
)
of_flax(
    "dropout of attention",
    lambda: nn.MultiHeadAttention(
        2, dropout_rate=0.5, broadcast_dropout=False, deterministic=False, **WIDE
    ),
    tokens,
)
of_flax(
    "batch norm of Flax",
    lambda: nn.BatchNorm(use_running_average=False, **WIDE),
    mutable=["batch_stats"],
)


@refused("dropout and batch norm of NNX, in training")
def _():
    class Net(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(3, 2, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(2, param_dtype=jnp.float64, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return jnp.tanh(self.norm(self.dense(x)))

    graph, params, rest = nnx.split(Net(), nnx.Param, ...)

    def f(p, x):
        net = nnx.merge(graph, p, rest, copy=True)
        return net(x)

    return f, params, vectors()


# ---------------------------------------------------------------------------------------------
# Refused, or right
# ---------------------------------------------------------------------------------------------


@either("statistics that are kept, given as Flax has them")
def _():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.BatchNorm(use_running_average=True, **WIDE)(nn.Dense(3, **WIDE)(x))
            return nn.Dense(2, **WIDE)(jnp.tanh(h))

    net, x = Net(), vectors()
    variables = net.init(jax.random.key(0), x)

    def f(p, x):
        return net.apply({**variables, "params": p}, x)

    return net.apply, variables, x, jacobian_kernel(Program(f, variables["params"], x, ""))


@either("a guard that looks at the whole batch and does not strike")
def _():
    return (
        (lambda p, x: mlp(p, lax.cond(jnp.isfinite(x).all(), lambda x: x, jnp.zeros_like, x))),
        mlp_params(),
        vectors(),
    )


@either("a bound on the whole batch that is not reached")
def _():
    return (lambda p, x: mlp(p, x / jnp.maximum(10.0, jnp.abs(x).max()))), mlp_params(), vectors()


@either("a function of four examples and no other number")
def _():
    return (lambda p, x: mlp(p, x.reshape(4, 3))), mlp_params(), vectors()


@either("an output of which squeeze takes the axis of a single example")
def _():
    return (lambda p, x: jnp.squeeze(x @ p["w1"][:, :1] * p["w2"][0, 0])), mlp_params(), vectors()


@either("a gradient that is clipped, which is not linear")
def _():
    @jax.custom_vjp
    def clipped(h):
        return h

    clipped.defvjp(lambda h: (h, None), lambda _, c: (jnp.clip(c, -0.2, 0.2),))
    return (lambda p, x: clipped(jnp.tanh(x @ clipped(p["w1"]))) @ p["w2"]), mlp_params(), vectors()


# ---------------------------------------------------------------------------------------------
# The choice "lga", with the classifier somewhere in the tree: which leaves enter
# ---------------------------------------------------------------------------------------------


class Classified(nn.Module):
    """A stem, a normalisation and a classifier."""

    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm(name="norm", **WIDE)(nn.Dense(4, name="stem", **WIDE)(x))
        return nn.Dense(2, name="classifier", **WIDE)(jnp.tanh(h))


def _lga(name: str, nest: Callable[[Any], Any], find: Callable[[Any], Any]) -> None:
    def made() -> tuple[Program, Callable]:
        net, x = Classified(), vectors()
        params = net.init(jax.random.key(0), x)["params"]

        def of(p, x):
            return net.apply({"params": p}, x)

        def chosen(q, x):
            p = {**params, "stem": {**params["stem"], "kernel": q["kernel"]}}
            return of({**p, "norm": {**params["norm"], "scale": q["scale"]}}, x)

        q = {"kernel": params["stem"]["kernel"], "scale": params["norm"]["scale"]}
        program = Program(lambda p, x: of(find(p), x), nest(params), x, name)
        return program, jacobian_kernel(Program(chosen, q, x, name))

    LGA[name] = made


_lga("lga: at the top", lambda p: p, lambda p: p)
_lga("lga: two levels down", lambda p: {"net": {"inner": p}}, lambda p: p["net"]["inner"])
_lga("lga: in a list", lambda p: {"nets": [p]}, lambda p: p["nets"][0])
_lga("lga: frozen", lambda p: freeze({"net": p}), lambda p: p["net"])
