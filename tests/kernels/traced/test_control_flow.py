"""Calls, branches, loops and derivatives of one's own: the kernel is that of the Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels.empirical import empirical_ntk
from tests.kernels.explicit import assert_exact, combined, full_kernel, jacobians
from tests.networks.tiny import assert_close

N = 4


def _params():
    rng = np.random.default_rng(0)
    shapes = {"w": (3, 3), "v": (3, 2), "b": (3,), "stack": (4, 3, 3), "biases": (4, 3), "s": ()}
    return {name: jnp.asarray(0.6 * rng.normal(size=shape)) for name, shape in shapes.items()}


def _inputs():
    return jnp.asarray(np.random.default_rng(1).normal(size=(N, 3)))


CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


@case
def jit(p, x):
    layer = jax.jit(lambda x, w: jnp.tanh(x @ w))
    return layer(layer(x, p["w"]), p["stack"][0]) @ p["v"]


@case
def weights_that_leave_a_jit(p, x):
    def step(x, w):
        return jnp.tanh(x @ w), 2 * w

    hidden, w = jax.jit(step)(x, p["w"])
    return hidden @ w @ p["v"]


@case
def checkpoint(p, x):
    layer = jax.checkpoint(lambda x, w, b: jnp.tanh(x @ w + b[None]))
    return layer(layer(x, p["w"], p["b"]), p["stack"][1], p["b"]) @ p["v"]


@case
def weights_that_leave_a_checkpoint(p, x):
    @jax.checkpoint
    def step(x, w):
        return jnp.tanh(x @ w), jnp.tanh(w), w

    hidden, changed, same = step(x, p["w"])
    return (hidden @ changed + x @ same) @ p["v"]


@case
def checkpoint_with_a_policy(p, x):
    policy = jax.checkpoint_policies.dots_saveable
    return jax.checkpoint(lambda x: jnp.tanh(x @ p["w"]) @ p["v"], policy=policy)(x)


@case
def branch_by_a_constant(p, x):
    def one(x):
        return jnp.tanh(x @ p["w"])

    def other(x):
        return x @ (p["w"].T / 2) + p["b"][None]

    return lax.cond(jnp.asarray(True), one, other, x) @ p["v"]


@case
def branch_that_is_not_taken_uses_a_weight_differently(p, x):
    def folded(x):
        return (x.reshape(1, -1, 3) @ p["w"]).reshape(x.shape)

    def masked(x):
        return x @ (p["w"] * jnp.eye(3))

    return lax.cond(jnp.asarray(False), folded, masked, x) @ p["v"]


@case
def branches_that_give_weights(p, x):
    w = lax.cond(jnp.asarray(True), lambda: p["w"] * 2, lambda: p["stack"][0])
    return jnp.tanh(x @ w) @ p["v"]


@case
def branches_of_which_one_gives_no_weight(p, x):
    def of_one(x):
        w = lax.cond(jnp.asarray(False), lambda: p["w"], lambda: jnp.outer(x, x))
        return jnp.tanh(x @ w) @ p["v"]

    return jax.vmap(of_one)(x)


@case
def branch_by_the_example(p, x):
    def of_one(x):
        taken = lax.cond(x[0] > 0, lambda x: x @ p["w"], lambda x: jnp.tanh(x) @ p["w"].T, x)
        return jnp.tanh(taken) @ p["v"]

    return jax.vmap(of_one)(x)


@case
def switch_by_the_example(p, x):
    layers = [lambda x, at=at: jnp.tanh(x @ p["stack"][at] + p["biases"][at]) for at in range(4)]

    def of_one(x):
        return lax.switch(jnp.asarray(4 * jax.nn.sigmoid(x[0]), jnp.int32), layers, x) @ p["v"]

    return jax.vmap(of_one)(x)


@case
def switch_by_a_batch_of_one(p, x):
    """Inside one example the choice is no vector."""

    def of_one(row):
        at = jnp.asarray(jnp.clip(row[0, 0] * 2 + 2, 0, 3), jnp.int32)
        return lax.switch(at, [lambda r, k=k: r @ p["stack"][k] for k in range(4)], row)

    return lax.map(lambda row: of_one(row[None])[0], x) @ p["v"]


@case
def branch_by_a_weight(p, x):
    return lax.cond(p["s"] > 0, lambda x: x @ p["w"], lambda x: x @ p["w"].T, x) @ p["v"]


@case
def loop_over_stacked_weights(p, x):
    def step(x, layer):
        w, b = layer
        return jnp.tanh(x @ w + b[None]), None

    return lax.scan(step, x, (p["stack"], p["biases"]))[0] @ p["v"]


@case
def loop_backwards_and_unrolled(p, x):
    def step(x, w):
        return jnp.tanh(x @ w), x.sum(axis=1)

    last, sums = lax.scan(step, x, p["stack"], reverse=True, unroll=2)
    return last @ p["v"] + sums[1][:, None]


@case
def loop_of_one_step(p, x):
    def step(x, w):
        return jnp.tanh(x @ w + p["b"][None]), None

    return lax.scan(step, x, p["stack"][:1])[0] @ p["v"]


@case
def loop_with_the_same_weight_at_every_step(p, x):
    return lax.fori_loop(0, 3, lambda _, x: jnp.tanh(x @ p["w"]), x) @ p["v"]


@case
def loop_that_carries_a_weight_along(p, x):
    def step(carry, _):
        x, w = carry
        return (jnp.tanh(x @ w), w), None

    (x, w), _ = lax.scan(step, (x, p["w"]), None, length=3)
    return x @ w @ p["v"]


@case
def loop_that_changes_a_weight(p, x):
    def step(carry, b):
        x, w = carry
        return (jnp.tanh(x @ w + b[None]), 0.9 * w), w.sum()

    (x, w), sums = lax.scan(step, (x, p["w"]), p["biases"])
    return (x @ w) @ p["v"] + sums.sum()


@case
def loop_whose_weight_begins_as_a_constant(p, x):
    def step(carry, w):
        x, before = carry
        return (jnp.tanh(x @ w + x @ before), w), None

    (x, last), _ = lax.scan(step, (x, jnp.zeros((3, 3))), p["stack"])
    return x @ last @ p["v"]


@case
def loop_whose_carry_becomes_data(p, x):
    def step(carry, w):
        return jnp.tanh(x @ w) + carry, carry[:, :2]

    last, rows = lax.scan(step, jnp.broadcast_to(p["b"], x.shape), p["stack"])
    return last @ p["v"] + rows.sum(axis=0)


@case
def loop_that_collects_weights(p, x):
    def step(carry, w):
        return carry, (w @ w, carry @ w)

    _, (squares, outs) = lax.scan(step, x, p["stack"])
    return jnp.tanh(outs.sum(axis=0) @ squares[2]) @ p["v"]


@case
def loop_over_changed_weights(p, x):
    def step(x, w):
        return jnp.tanh(x @ w), None

    return lax.scan(step, x, jnp.tanh(p["stack"]) * 2)[0] @ p["v"]


@case
def loop_over_steps_of_the_data(p, x):
    def step(hidden, one):
        return jnp.tanh(one[:, None] * p["b"][None] + hidden @ p["w"]), hidden

    last, all_of_them = lax.scan(step, jnp.zeros_like(x), x.T)
    return (last + all_of_them.sum(axis=0)) @ p["v"]


@case
def loops_inside_loops(p, x):
    def inner(x, b):
        return jnp.tanh(x + b[None]), None

    def outer(x, w):
        x, _ = lax.scan(inner, x @ w, jnp.stack([w[0], p["b"]]))
        return x, None

    return lax.scan(outer, x, p["stack"])[0] @ p["v"]


@case
def stacked_stacks(p, x):
    def inner(x, w):
        return jnp.tanh(x @ w), None

    def outer(x, ws):
        return lax.scan(inner, x, ws)

    return lax.scan(outer, x, p["stack"].reshape(2, 2, 3, 3))[0] @ p["v"]


@case
def checkpointed_steps_with_branches(p, x):
    @jax.checkpoint
    def step(x, layer):
        w, at = layer
        return lax.cond(at % 2 == 0, lambda x: jnp.tanh(x @ w), lambda x: x @ w.T, x), None

    steps = jnp.arange(4, dtype=jnp.int32)
    return lax.scan(step, x, (p["stack"], steps))[0] @ p["v"]


@case
def loop_without_steps(p, x):
    def step(x, w):
        return jnp.tanh(x @ w), None

    return lax.scan(step, x, p["stack"][:0])[0] @ p["v"]


@case
def while_loop_of_numbers_that_have_no_derivative(p, x):
    def more(state):
        return state[0] < 3

    count, _ = lax.while_loop(more, lambda s: (s[0] + 1, s[1] + s[0]), (0, 0))
    return (x @ p["w"] * count) @ p["v"]


@case
def while_loop_of_data_that_is_stopped(p, x):
    def of_one(x):
        start = jnp.abs(lax.stop_gradient(x @ p["w"])).max() + 1
        size = lax.while_loop(lambda size: size < 10, lambda size: 2 * size, start)
        return jnp.tanh(x @ p["w"]) @ p["v"] * lax.stop_gradient(size)

    return jax.vmap(of_one)(x)


@jax.custom_vjp
def _clipped(x, w):
    return x @ w


_clipped.defvjp(
    lambda x, w: (x @ w, (x, w)),
    lambda saved, ct: (ct @ saved[1].T, jnp.clip(saved[0].T @ ct, -0.2, 0.2)),
)


@jax.custom_jvp
def _straight_through(w):
    return jnp.round(w * 8) / 8


_straight_through.defjvp(lambda at, moved: (_straight_through(*at), moved[0]))


@jax.custom_jvp
def _doubled(x, w):
    return x @ w


_doubled.defjvp(lambda at, moved: (at[0] @ at[1], 2 * (moved[0] @ at[1]) + 3 * (at[0] @ moved[1])))


@case
def straight_through_weights(p, x):
    return jnp.tanh(x @ _straight_through(p["w"])) @ p["v"]


@case
def a_forward_rule_of_ones_own(p, x):
    return jnp.tanh(_doubled(x, p["w"])) @ p["v"]


@case
def a_forward_rule_in_a_loop(p, x):
    return lax.scan(lambda x, w: (_doubled(x, w), None), x, p["stack"])[0] @ p["v"]


@case
def library_functions_with_rules(p, x):
    hidden = jax.nn.relu(x * p["b"][None]) + jax.nn.silu(x @ p["w"])
    return jax.nn.softmax(jax.nn.gelu(hidden @ p["v"]) * jax.nn.softplus(p["s"]), axis=1)


@case
def linear_solve(p, x):
    return jnp.linalg.solve(jnp.eye(3) + 0.1 * p["w"], x.T).T @ p["v"]


@case
def root_of_an_equation(p, x):
    def fixed(w):
        return lax.custom_root(
            lambda s: s - jnp.tanh(s * 0.3) - w,
            w,
            lambda f, s: lax.fori_loop(0, 30, lambda _, s: s - f(s), s),
            lambda g, y: y / g(1.0),
        )

    return x @ p["w"] @ p["v"] * fixed(p["s"])


@pytest.fixture(scope="module")
def drawn():
    return _params(), _inputs()


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_is_the_jacobian_times_itself(drawn, name):
    assert_exact(CASES[name], *drawn, method="gram", check=False)


CHECKED = ("jit", "branch_by_the_example", "loop_over_stacked_weights", "a_forward_rule_in_a_loop")


@pytest.mark.parametrize("name", CHECKED)
def test_the_check_passes_and_all_methods_agree(drawn, name):
    params, x = drawn
    settings = {"outputs": "class_balanced", "tile": 3}
    wanted = combined(full_kernel(jacobians(CASES[name], params, x)), "class_balanced")
    assert_close(empirical_ntk(CASES[name], params, x, **settings), wanted, 1e-10)


@pytest.mark.parametrize("check", [True, False])
def test_a_rule_that_clips_is_applied_to_each_example_and_output(drawn, check):
    def network(p, x):
        return _clipped(x, p["w"])

    assert_exact(network, *drawn, method="gram", check=check)
