"""Parameters used in several or rare ways."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.fooling import (
    Fooling,
    conv,
    mlp,
    mlp_params,
    named,
    normal,
    small_numbers,
    square,
    vectors,
    weights,
)

FOOLING = Fooling()


@FOOLING.add("used: reaches no output")
def _():
    def f(p, x):
        unused = x @ p["b"]
        return (x @ p["a"], unused)[0]

    return f, square(), vectors()


@FOOLING.add("used: as data, its square before the product")
def _():
    return (
        (lambda p, x: (p["a"] * p["a"] @ x.T).T + jnp.square(p["b"]) @ p["b"][0]),
        square(),
        vectors(3),
    )


@FOOLING.add("used: the output is the parameter")
def _():
    return (lambda p, x: jnp.broadcast_to(p, (len(x), *p.shape))), weights((3, 2))[0], vectors()


@FOOLING.add("used: the output is a function of parameters alone")
def _():
    return (lambda p, x: jnp.stack([jnp.tanh(p["a"] @ p["b"])] * len(x))), square(), vectors()


@FOOLING.add("used: as a bound on an index, without derivative")
def _():
    def f(p, x):
        return x @ p["a"] * p["b"][jnp.argmax(p["b"][0]), jnp.sum(p["b"] > 0) % 3]

    return f, square(), vectors()


@FOOLING.add("used: as an exponent and as a base")
def _():
    return (lambda p, x: jnp.abs(x) ** p["a"][0] + (p["b"][0] ** 2 + 0.1) ** x), square(), vectors()


@FOOLING.add("used: as the filter and as the image")
def _():
    def f(p, x):
        both = jnp.concatenate(
            [x, jnp.broadcast_to(p[None, :, :, :, 0], (len(x), 2, 2, 2))], axis=1
        )
        h = conv(both.reshape(len(x), -1, 2, 2), p, padding="VALID")
        return jnp.tanh(h).mean((1, 2))

    return f, weights((2, 2, 2, 3))[0], jnp.asarray(normal(3, 4, 4, 2, 2))


@FOOLING.add("used: data are the filter of a learnt image")
def _():
    def f(p, x):
        def one(filters):
            return conv(p, filters[..., None], padding="VALID")[0]

        return jax.vmap(one)(x).reshape(len(x), -1)

    return f, weights((1, 3, 3, 2))[0], jnp.asarray(normal(3, 3, 2, 2, 2))


@FOOLING.add("used: embedding, tied to the readout, and its norm added")
def _():
    def f(p, x):
        h = jnp.tanh(p["words"][x] + p["places"][None]).mean(1)
        return h @ p["words"].T - 0.5 * jnp.sum(p["words"] ** 2, axis=1)

    x = small_numbers(np.int64, 4, 3, top=5)
    return f, named(words=(5, 2), places=(3, 2)), x


@FOOLING.add("used: a table read where other parameters and data say")
def _():
    def f(p, x):
        at = jnp.floor(2.0 * (x @ p["a"]) + 0.3).astype(jnp.int32) % 3
        return p["b"][at, np.arange(3)] * x + p["b"][0, at]

    return f, square(), vectors()


@FOOLING.add("used: a grid, interpolated where the data say")
def _():
    def f(p, x):
        where = [1.0 + jnp.tanh(x[:, 0]), 1.0 + jnp.tanh(x[:, 1] * p["gain"])]
        return jax.scipy.ndimage.map_coordinates(p["grid"], where, order=1)

    return f, named(grid=(3, 3), gain=()), vectors()


@FOOLING.add("used: heights of a curve")
def _():
    knots = np.linspace(-2, 2, 5)
    return (
        (lambda p, x: jnp.interp(x, knots, p["heights"]) @ p["w"]),
        named(heights=(5,), w=(3, 2)),
        vectors(),
    )


@FOOLING.add("used: coefficients of polynomials")
def _():
    return (
        (
            lambda p, x: (
                jnp.polyval(p["c"], x) + jax.vmap(lambda a: jnp.convolve(a, p["k"], "same"))(x)
            )
        ),
        named(c=(4,), k=(2,)),
        vectors(),
    )


@FOOLING.add("used: centres that data are compared with")
def _():
    def f(p, x):
        distance = jnp.sum((x[:, None] - p["centres"]) ** 2, axis=-1)
        return jnp.exp(-distance * jnp.exp(p["widths"])) @ p["w"]

    shapes = {"centres": (4, 3), "widths": (4,), "w": (4, 2)}
    return f, named(**shapes), vectors()


@FOOLING.add("used: written into a memory at a place that the data say")
def _():
    def f(p, x):
        def one(a):
            at = jnp.argmax(a)
            memory = p["memory"].at[at].add(a)
            memory = memory.at[(at + 1) % 3].multiply(p["gain"])
            return jax.nn.softmax(memory @ a) @ memory

        return jax.vmap(one)(x)

    return f, named(memory=(3, 3), gain=(3,)), vectors()


@FOOLING.add("used: sorted together with data")
def _():
    def f(p, x):
        keys, carried = lax.sort((x, jnp.broadcast_to(p["v"], x.shape)), dimension=1, num_keys=1)
        return keys * carried + jnp.sort(x + p["s"], axis=1)

    return f, named(v=(3,), s=(3,)), vectors()


@FOOLING.add("used: the largest of products")
def _():
    return (
        (lambda p, x: lax.top_k(x @ p["a"], 2)[0] + jnp.max(x @ p["b"], axis=1, keepdims=True)),
        square(),
        vectors(),
    )


@FOOLING.add("used: adapted to every example by a step of gradient descent")
def _():
    def f(p, x):
        def one(a):
            def loss(w):
                return jnp.sum((jnp.tanh(a @ w) - a) ** 2)

            return jnp.tanh(a @ (p["a"] - 0.3 * jax.grad(loss)(p["a"]))) @ p["b"]

        return jax.vmap(one)(x)

    return f, square(), vectors()


@FOOLING.add("used: a force, the gradient of an energy")
def _():
    def f(p, x):
        return -jax.grad(lambda x: jnp.sum(jnp.tanh(x @ p["a"]) @ p["b"] ** 2))(x)

    return f, square(), vectors()


@FOOLING.add("used: a Laplacian, and a derivative along a direction")
def _():
    def f(p, x):
        def one(a):
            def u(a):
                return jnp.sum(jnp.sin(a @ p["a"]) * p["b"][0])

            along = jax.jvp(u, (a,), (jnp.ones(3),))[1]
            return jnp.stack([jnp.trace(jax.hessian(u)(a)), along])

        return jax.vmap(one)(x)

    return f, square(), vectors()


@FOOLING.add("used: through a linearised copy")
def _():
    def f(p, x):
        start = jax.tree.map(lambda w: lax.stop_gradient(w), p)
        change = jax.tree.map(lambda w, s: w - s + 0.1, p, start)
        out, tangent = jax.jvp(lambda q: mlp(q, x), (start,), (change,))
        return out + tangent

    return f, mlp_params(), vectors()


@FOOLING.add("used: by two heads of which one is stopped")
def _():
    def f(p, x):
        h = jnp.tanh(x @ p["a"])
        return jnp.concatenate([h @ p["b"], lax.stop_gradient(h) @ p["b"].T], axis=1)

    return f, square(), vectors()


@FOOLING.add("used: by a student whose teacher has the same weights")
def _():
    def f(p, x):
        teacher = mlp(jax.tree.map(lax.stop_gradient, p), 0.9 * x)
        return (mlp(p, x) - teacher) ** 2

    return f, mlp_params(), vectors()


@FOOLING.add("used: seven times in seven ways")
def _():
    def f(p, x):
        w = p["a"]
        h = x @ w + x @ w.T + w[0] + w[:, 1] * x + jnp.einsum("ni,ij,nj->n", x, w, x)[:, None]
        return h + jnp.linalg.det(w) + x[:, :1] ** 2 * w.sum() + x @ w[jnp.array([2, 0, 1])]

    return f, square(), vectors()
