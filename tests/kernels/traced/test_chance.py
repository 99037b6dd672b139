"""Draws that decide what becomes of data or weights are found; random features are not."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxntk.kernels.traced.chance import throws_dice
from jaxntk.kernels.traced.kinds import Kind

KEY = jax.random.key(0)


def _bernoulli(x, key=KEY):
    return jax.random.bernoulli(key, 0.5, x.shape)


def _dropped(x, key=KEY):
    return jnp.where(_bernoulli(x, key), x / 0.5, 0.0)


def _dropout(x, w):
    return nn.Dropout(0.5, deterministic=False).apply({}, x, rngs={"dropout": KEY}) @ w


def _drop_path(x, w):
    keep = jax.random.uniform(KEY, (x.shape[0], 1)) < 0.8
    return x + (x @ w) * keep.astype(x.dtype) / 0.8


def _drop_connect(x, w):
    return x @ (w * _bernoulli(w).astype(w.dtype))


def _steps(x, w):
    keys = jax.random.split(KEY, 3)
    return lax.scan(lambda x, key: (_dropped(x @ w, key), None), x, keys)[0]


def _mask_of_the_step_before(x, w):
    """The mask that a step draws is used by the next one."""

    def step(carry, key):
        x, mask = carry
        return (x @ w * mask, _bernoulli(x, key).astype(x.dtype)), None

    return lax.scan(step, (x, jnp.ones_like(x)), jax.random.split(KEY, 3))[0][0]


def _counted(x, w):
    keep = lambda at, x: _dropped(x @ w, jax.random.fold_in(KEY, at))  # noqa: E731
    return lax.fori_loop(0, 3, keep, x)


def _unrolled_by_while(x, w):
    def step(state):
        at, x = state
        return at + 1, _dropped(x @ w, jax.random.fold_in(KEY, at))

    return lax.while_loop(lambda state: state[0] < 3, step, (0, x))[1]


FOUND = {
    "dropout of Flax": _dropout,
    "DropPath": _drop_path,
    "DropConnect": _drop_connect,
    "by a product": lambda x, w: x * _bernoulli(x).astype(x.dtype) @ w,
    "by a choice": lambda x, w: jnp.where(_bernoulli(x), x, 0.0) @ w,
    "by a branch": lambda x, w: lax.cond(_bernoulli(x)[0, 0], lambda: x, lambda: x @ w),
    "inside a branch": lambda x, w: lax.cond(x[0, 0] > 0, lambda: _dropped(x), lambda: x @ w),
    "inside a call": lambda x, w: jax.jit(_dropped)(x @ w),
    "inside a checkpoint": lambda x, w: jax.checkpoint(_dropped)(x @ w),
    "inside a loop": _steps,
    "inside a counted loop": _counted,
    "inside a while loop": _unrolled_by_while,
    "a step after it was drawn": _mask_of_the_step_before,
    "with an older generator": lambda x, w: _dropped(x @ w, jax.random.PRNGKey(0)),
    "with the generator of hardware": lambda x, w: _dropped(x, jax.random.key(0, impl="rbg")),
}
NOT_FOUND = {
    "random features": lambda x, w: jnp.cos(x @ jax.random.normal(KEY, w.shape)) @ w,
    "random phases": lambda x, w: x @ w + jax.random.uniform(KEY, x.shape),
    "noise on the inputs": lambda x, w: (x + 0.1 * jax.random.normal(KEY, x.shape)) @ w,
    "weights drawn anew": lambda x, w: x @ (w + jax.random.truncated_normal(KEY, -2, 2, w.shape)),
    "an order": lambda x, w: x[:, jax.random.permutation(KEY, 3)] @ w,
    "a mask of the data": lambda x, w: jnp.where(x > 0, x, 0.1 * x) @ w,
    "a draw that nothing uses": lambda x, w: (_bernoulli(x), x @ w)[1],
    "a key that is only split": lambda x, w: (jax.random.split(KEY, 3), x @ w)[1],
    "dropout that is off": lambda x, w: nn.Dropout(0.5, deterministic=True).apply({}, x) @ w,
    "dropout of rate zero": lambda x, w: nn.Dropout(0.0, deterministic=False).apply({}, x) @ w,
}


def _throws(function):
    program = jax.make_jaxpr(function)(jnp.ones((2, 3)), jnp.ones((3, 3)))
    return throws_dice(program, [Kind.DATA, Kind.WEIGHT])


@pytest.mark.parametrize("name", FOUND)
def test_dropout_is_found(name):
    assert _throws(FOUND[name])


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_belongs_to_one_network_is_not_refused(name):
    assert not _throws(NOT_FOUND[name])


def test_a_mask_that_meets_constants_alone_is_none():
    def function(x):
        return x + 1.0, _bernoulli(jnp.ones(3)).astype(x.dtype) * 2

    program = jax.make_jaxpr(function)(jnp.ones(3))
    assert not throws_dice(program, [Kind.DATA])


def test_keys_given_as_state_are_chance_too():
    def function(x, key):
        return _dropped(x, key)

    program = jax.make_jaxpr(function)(jnp.ones((2, 3)), KEY)
    assert throws_dice(program, [Kind.DATA, Kind.CONSTANT])
