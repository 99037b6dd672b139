"""Weights that leave inner programs, and branches of which one is odd."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from tests.kernels.programs.fooling import Fooling, mlp, mlp_params, named, square, vectors

FOOLING = Fooling()


def leaving(name: str, wrap: Callable[[Callable], Callable]) -> None:
    """A step that returns data and weights, changed, swapped, twice or as they are."""

    def step(p, x):
        h = jnp.tanh(x @ p["a"])
        return h, {"a": p["b"], "b": 0.5 * p["a"].T, "both": p["a"] + p["b"], "same": p["a"]}

    @FOOLING.add(f"leaving: {name}")
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


leaving("jit", jax.jit)
leaving("checkpoint of jit of checkpoint", lambda f: jax.checkpoint(jax.jit(jax.checkpoint(f))))
leaving(
    "cond on a parameter", lambda f: lambda p, x: lax.cond(p["a"][0, 0] > 0, f, _other(f), p, x)
)
leaving("switch", lambda f: lambda p, x: lax.switch(2, [_other(f), _other(f), f, _other(f)], p, x))
leaving("scan, collected", lambda f: _scanned(f, "ys"))
leaving("scan, carried", lambda f: _scanned(f, "carry"))
leaving("custom_vjp that is three times as much", lambda f: _own_rule(f, 3.0))
leaving("jit of a wrong custom_vjp", lambda f: jax.jit(_own_rule(f, -1.0)))
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


@FOOLING.add("leaving: a loop in which two weights change places")
def _():
    def f(p, x):
        def step(carry, _):
            h, a, b = carry
            return (jnp.tanh(h @ a), b, a), None

        (h, a, b), _ = lax.scan(step, (x, p["a"], p["b"]), length=3)
        return h @ a - x @ b

    return f, square(), vectors()


@FOOLING.add("leaving: a loop that adds weights up from zeros")
def _():
    def f(p, x):
        def step(total, w):
            return total + w @ p["b"], total

        total, before = lax.scan(step, jnp.zeros((3, 3)), p["a"])
        return jnp.tanh(x @ total) @ before[-1]

    return f, named(a=(2, 3, 3), b=(3, 3)), vectors()


@FOOLING.add("leaving: a loop whose weights become data")
def _():
    def f(p, x):
        def step(c, _):
            return c @ p["b"] + x.sum(1)[:, None, None], None

        start = jnp.broadcast_to(p["a"], (len(x), 3, 3))
        c = lax.scan(step, start, length=2)[0]
        return jnp.einsum("ni,nij->nj", x, c)

    return f, square(), vectors()


@FOOLING.add("leaving: a loop whose constant becomes data in the second step")
def _():
    def f(p, x):
        def step(carry, _):
            first, second = carry
            return (jnp.tanh(x @ p["a"]), first @ p["b"]), second

        (first, second), seen = lax.scan(step, (jnp.ones((len(x), 3)),) * 2, length=3)
        return first * second + seen[2]

    return f, square(), vectors()


@FOOLING.add("leaving: a loop's weights, and the stack that it took apart")
def _():
    def f(p, x):
        def step(h, w):
            return jnp.tanh(h @ w), w.T

        h, turned = lax.scan(step, x, p["a"])
        return h @ turned[0] @ p["a"][1] + jnp.einsum("ni,kij->nj", x, turned)

    return f, named(a=(2, 3, 3), b=(3, 3)), vectors()


@FOOLING.add("leaving: outputs of a loop that nothing uses")
def _():
    def f(p, x):
        def step(carry, w):
            h, unused = carry
            return (jnp.tanh(h @ w), unused @ p["b"]), (h @ p["b"], w)

        (h, _), _ = lax.scan(step, (x, x), p["a"])
        return h

    return f, named(a=(2, 3, 3), b=(3, 3)), vectors()


@FOOLING.add("leaving: one weight through jit twice, in one step")
def _():
    def f(p, x):
        one, two, turned = jax.jit(lambda w: (w, w, w.T))(p["a"])
        return jnp.tanh(x @ one) @ turned + x @ (two * p["b"])

    return f, square(), vectors()


def branch(name: str, odd: Callable) -> None:
    """An ordinary branch beside an odd one that is taken, or that each example may take."""

    def one(a, p):
        return lax.cond(a.sum() > 0.1, odd, mlp, p, a[None])[0]

    ways = {
        "always": lambda p, x: lax.switch(1, [mlp, odd, mlp], p, x),
        "for some examples": lambda p, x: jax.vmap(lambda a: one(a, p))(x),
    }
    for way, f in ways.items():
        FOOLING.simple(f"branch: {name}, {way}", f, mlp_params)


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


@FOOLING.add("branch: on the number of the step")
def _():
    def f(p, x):
        def step(h, i):
            h = lax.cond(i == 1, lambda h: jnp.tanh(h @ p["a"]), lambda h: h @ p["a"].T + h, h)
            return h, None

        return lax.scan(step, x, jnp.arange(3))[0]

    return f, square(), vectors()


@FOOLING.add("branch: two choices, of which each uses what the other does not")
def _():
    def f(p, x):
        h = lax.cond(jnp.array(True), lambda h: h @ p["a"], lambda h: h @ p["b"], x)
        return lax.cond(jnp.array(False), lambda h: h @ p["b"], lambda h: h @ p["a"], jnp.tanh(h))

    return f, square(), vectors()


@FOOLING.add("branch: on a whole number among the parameters")
def _():
    def f(p, x):
        ways = [lambda w, x: x @ w, lambda w, x: jnp.sin(x @ w.T), lambda w, x: x * w[0]]
        return lax.switch(p["way"], ways, p["a"], x)

    return f, {**square(), "way": jnp.asarray(1, jnp.int32)}, vectors()


@FOOLING.add("branch: chosen by a gate that is learnt")
def _():
    def f(p, x):
        def one(a):
            way = jnp.argmax(a @ p["b"])
            ways = [lambda a: a @ p["a"], lambda a: a @ p["a"].T, lambda a: a * p["a"][0]]
            return lax.switch(way, ways, a) * jax.nn.softmax(a @ p["b"])[way]

        return jax.vmap(one)(x)

    return f, square(), vectors()


@FOOLING.add("branch: in a loop in a branch")
def _():
    def f(p, x):
        def step(i, h):
            return lax.cond(i > 0, lambda: h @ p["a"], lambda: jnp.cos(h @ p["b"]))

        return lax.cond(
            jnp.array(True), lambda: lax.fori_loop(0, 3, step, x), lambda: x @ p["a"] @ p["b"]
        )

    return f, square(), vectors()


FOOLING.simple(
    "constant: one that a loop over data gives",
    lambda p, x: (lambda last, ones: last[:, None] * (ones @ p["a"])[:1] + x @ p["b"])(
        *lax.scan(lambda c, t: (c + t, jnp.ones(3)), jnp.zeros(len(x)), x.T)
    ),
)
FOOLING.simple(
    "constant: a weight behind a barrier that data pass too",
    lambda p, x: (lambda h, w: h @ w + h @ p["b"])(*lax.optimization_barrier((x, p["a"]))),
)
FOOLING.simple(
    "constant: one beside data, given by a rule",
    lambda p, x: (lambda h, ones: h * (ones @ p["a"]) + x @ p["b"])(
        *jax.custom_gradient(lambda h: ((jnp.sin(h), jnp.ones(3)), lambda c: c[0] * jnp.cos(h)))(x)
    ),
)
