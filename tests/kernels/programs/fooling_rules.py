"""Interceptors of the user's own, and rules of derivatives."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from tests.kernels.programs.fooling import (
    Fooling,
    TwoLayers,
    named,
    normal,
    square,
    vectors,
    weights,
)

FOOLING = Fooling()


def intercepted(name: str, intercept: Callable, extra: Callable = dict) -> None:
    @FOOLING.add(f"interceptor: {name}")
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
    lambda: named(a=(3, 1), b=(1, 3)),
)
intercepted(
    "not called at all",
    lambda p, call, args, kw, m: args[0][:, : m.features] * p["w"],
    lambda: {"w": weights((3,))[0][:1]},
)
intercepted("under jit", lambda p, call, args, kw, m: jax.jit(lambda a: 2.0 * a)(call(*args, **kw)))


def ruled(name: str, make: Callable) -> None:
    """A function of weights and data whose derivative is what it says."""

    @FOOLING.add(f"rule: {name}")
    def _():
        rule = make()

        def f(p, x):
            return rule(p["b"], jnp.tanh(x @ p["a"])) + x @ p["b"]

        return f, square(), vectors()


def _rule(forward: Callable, backward: Callable) -> Callable:
    own = jax.custom_vjp(forward)
    own.defvjp(lambda w, h: (forward(w, h), (w, h)), backward)
    return own


FEEDBACK = normal(9, 3, 3)


def _matmul(w, h):
    return h @ w


ruled(
    "a product, weights transposed on the way back",
    lambda: _rule(_matmul, lambda k, c: (k[1].T @ c, c @ k[0])),
)
ruled(
    "a product, fixed feedback",
    lambda: _rule(_matmul, lambda k, c: (k[1].T @ c, c @ FEEDBACK)),
)
ruled(
    "a product, weights get what is no product",
    lambda: _rule(_matmul, lambda k, c: (jnp.full_like(k[0], c.sum()), c)),
)
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


@FOOLING.add("rule: with an argument without derivative and a whole number")
def _():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def applied(act, w, h, times):
        return act(h @ w) * times

    def backward(act, kept, c):
        w, h = kept
        return h.T @ c, c @ w.T, None

    applied.defvjp(lambda act, w, h, times: (applied(act, w, h, times), (w, h)), backward)
    return (lambda p, x: applied(jnp.sin, p["b"], x @ p["a"], 2)), square(), vectors()


@FOOLING.add("rule: data gradient turned round")
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


@FOOLING.add("rule: a solver of a fixed point")
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


@FOOLING.add("rule: conjugate gradients")
def _():
    def f(p, x):
        def one(a):
            matrix = 2.0 * jnp.eye(3) + p["a"] @ p["a"].T
            return jax.scipy.sparse.linalg.cg(lambda v: matrix @ v, a, tol=1e-14)[0]

        return jax.vmap(one)(x) @ p["b"]

    return f, square(), vectors()
