"""Rules of one's own, and wrappers of a function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from tests.kernels.programs.draft import Draft, is_float


@jax.custom_vjp
def straight_through(w):
    """Rounds; its rule says that it does not."""
    return jnp.round(w * 4.0) / 4.0


straight_through.defvjp(lambda w: (straight_through(w), None), lambda _, c: (c,))


@jax.custom_vjp
def reversed_gradient(h):
    """Does nothing; its rule turns the gradient round."""
    return h


reversed_gradient.defvjp(lambda h: (h, None), lambda _, c: (-0.5 * c,))


@jax.custom_jvp
def own_softplus(h):
    """With its right rule."""
    return jnp.logaddexp(h, 0.0)


@own_softplus.defjvp
def _(primals, tangents):
    return own_softplus(*primals), jax.nn.sigmoid(primals[0]) * tangents[0]


@jax.custom_jvp
def surrogate_spike(h):
    """A step; its rule is the slope of something smooth."""
    return jnp.where(h > 0.1234, 1.0, 0.0)


@surrogate_spike.defjvp
def _(primals, tangents):
    return surrogate_spike(*primals), tangents[0] / (1.0 + 3.0 * primals[0] ** 2)


@jax.custom_vjp
def own_matmul(h, w):
    """With its right rule."""
    return h @ w


own_matmul.defvjp(
    lambda h, w: (h @ w, (h, w)),
    lambda kept, c: (
        c @ kept[1].T,
        kept[0].reshape(-1, kept[0].shape[-1]).T @ c.reshape(-1, c.shape[-1]),
    ),
)


def _scaled(tree: Any, by: float) -> Any:
    return jax.tree.map(lambda leaf: leaf * by if is_float(leaf) else leaf, tree)


def _with_own_rule(f: Callable, by: float) -> Callable:
    own = jax.custom_vjp(f)
    own.defvjp(lambda *a: jax.vjp(f, *a), lambda pull_back, c: pull_back(_scaled(c, by)))
    return own


def _with_own_tangents(f: Callable, by: float) -> Callable:
    own = jax.custom_jvp(f)

    def rule(primals, tangents):
        out, change = jax.jvp(f, primals, tangents)
        return out, _scaled(change, by)

    own.defjvp(rule)
    return own


def _half(f: Callable) -> Callable:
    return lambda *a: _scaled(f(*a), 0.5)


def _of_halves(f: Callable) -> Callable:
    return lambda *a: f(*_scaled(a, 0.5))


def _by_scan(f: Callable, carried: str) -> Callable:
    def run(*a):
        stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], a)
        if carried == "sliced":
            every = lax.scan(lambda c, a: (c, f(*a)), 0.0, stacked)[1]
            return jax.tree.map(lambda leaf: leaf[0], every)
        shapes = jax.eval_shape(f, *a)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        if carried == "carried":
            return lax.scan(lambda c, _: ((f(*c[1]), c[1]), None), (zeros, a), length=1)[0][0]
        return lax.scan(lambda c, _: (f(*a), c), zeros, length=1)[0]

    return run


def _switched(f: Callable, at: int) -> Callable:
    def run(*a):
        branches = [_half(f), _of_halves(f)]
        branches.insert(at, f)
        return lax.switch(jnp.int32(at), branches, *a)

    return run


WRAPS: dict[str, Callable[[Callable], Callable]] = {
    "jit": jax.jit,
    "jit in jit": lambda f: jax.jit(lambda *a: jax.jit(f)(*a)),
    "inlined jit": lambda f: jax.jit(f, inline=True),
    "checkpoint": jax.checkpoint,
    "checkpoint of a jit": lambda f: jax.checkpoint(jax.jit(f)),
    "jit of a checkpoint that saves products": lambda f: jax.jit(
        jax.checkpoint(f, policy=jax.checkpoint_policies.dots_saveable)
    ),
    "cond, true": lambda f: lambda *a: lax.cond(jnp.array(True), f, _half(f), *a),
    "cond, false": lambda f: lambda *a: lax.cond(jnp.array(False), _of_halves(f), f, *a),
    "cond, closed over": lambda f: (
        lambda *a: lax.cond(jnp.array(True), lambda: f(*a), lambda: _half(f)(*a))
    ),
    "switch, first": lambda f: _switched(f, 0),
    "switch, last": lambda f: _switched(f, 2),
    "scan of one, sliced": lambda f: _by_scan(f, "sliced"),
    "scan of one, carried": lambda f: _by_scan(f, "carried"),
    "scan of one, closed over": lambda f: _by_scan(f, "closed over"),
    "vmap of one": lambda f: (
        lambda *a: jax.tree.map(
            lambda leaf: leaf[0],
            jax.vmap(f)(*jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], a)),
        )
    ),
    "vmap over nothing": lambda f: (
        lambda *a: jax.tree.map(lambda leaf: leaf[1], jax.vmap(lambda _: f(*a))(jnp.arange(2)))
    ),
    "custom_jvp": lambda f: _with_own_tangents(f, 1.0),
    "custom_vjp": lambda f: _with_own_rule(f, 1.0),
    "custom_vjp in jit": lambda f: jax.jit(_with_own_rule(f, 1.0)),
    "custom_vjp, wrong": lambda f: _with_own_rule(f, 2.0),
    "custom_vjp, wrong, in jit": lambda f: jax.jit(_with_own_rule(f, -0.5)),
    "custom_jvp, wrong": lambda f: _with_own_tangents(f, 0.7),
    "checkpoint of a custom_vjp": lambda f: jax.checkpoint(_with_own_rule(f, 1.0)),
    "barrier": lambda f: lambda *a: lax.optimization_barrier(f(*a)),
    "by platform": lambda f: lambda *a: lax.platform_dependent(*a, cpu=f, default=f),
    "named": lambda f: jax.named_call(f, name="named"),
    "name for a policy": lambda f: (
        lambda *a: jax.tree.map(
            lambda leaf: checkpoint_name(leaf, "kept") if is_float(leaf) else leaf, f(*a)
        )
    ),
}


def wrapper(d: Draft) -> str:
    """Draws a wrapper; JAX's own derivative of a custom_jvp does not go through a custom_vjp."""
    reverse_only = any("custom_vjp" in note for note in d.notes)
    return d.pick([name for name in WRAPS if not (reverse_only and "custom_jvp" in name)])


OF_THEIR_ARGUMENTS = [name for name in WRAPS if "custom" in name]
"""What may not close over parameters."""
