"""Parts of a program as functions of arrays: traced once, and gone back through inside a branch."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.gram import layer_kernels
from jaxntk.kernels.traced import calls
from tests.kernels.explicit import assert_exact

N = 4


def _params():
    rng = np.random.default_rng(0)
    shapes = {"w": (3, 3), "v": (3, 2), "b": (3,), "stack": (4, 3, 3), "more": (4, 3, 3)}
    return {name: jnp.asarray(0.6 * rng.normal(size=shape)) for name, shape in shapes.items()}


def _inputs():
    return jnp.asarray(np.random.default_rng(1).normal(size=(N, 3)))


def _checkpointed(branches, last="v"):
    """A network whose layers each choose among branches, under a checkpoint."""

    def network(p, x, choices):
        @jax.checkpoint
        def layer(x, w, choice):
            return lax.switch(choice, [lambda x, w, b=b: b(x, w, p) for b in branches], x, w)

        for number in range(4):
            x = layer(x, p["stack"][number], choices[number])
        return x @ p[last]

    return network


NETWORKS = {
    "a branch without weights": _checkpointed([
        lambda x, w, p: jnp.tanh(x @ w),
        lambda x, w, p: x,
        lambda x, w, p: jnp.sin(x) @ w.T,
    ]),
    "a weight of all layers": _checkpointed([
        lambda x, w, p: jnp.tanh(x @ w + p["b"][None]),
        lambda x, w, p: x * p["b"][None],
    ]),
    "a constant result": _checkpointed([
        lambda x, w, p: jnp.tanh(x @ w),
        lambda x, w, p: jnp.ones_like(x),
    ]),
    "a weight as the result": _checkpointed([
        lambda x, w, p: jnp.tanh(x @ w),
        lambda x, w, p: jnp.broadcast_to(p["b"], x.shape),
    ]),
    "a weight twice": _checkpointed([
        lambda x, w, p: jnp.tanh(x @ w) @ w,
        lambda x, w, p: x @ (w * w),
    ]),
    "a weight that was changed": _checkpointed([
        lambda x, w, p: x @ jnp.tanh(w),
        lambda x, w, p: x @ (2 * w),
    ]),
    "a choice inside a choice": _checkpointed([
        lambda x, w, p: lax.cond(
            p["v"][0, 0] > 5, lambda x: x @ w, lambda x: jnp.tanh(x @ w) @ p["w"], x
        ),
        lambda x, w, p: x,
    ]),
}


@pytest.mark.parametrize("choices", [(0, 0, 0, 0), (0, 1, 0, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("name", NETWORKS)
def test_choices_under_a_checkpoint_have_the_kernel_of_the_jacobian(name, choices):
    network = NETWORKS[name]
    assert_exact(
        lambda p, x: network(p, x, jnp.asarray(choices)), _params(), _inputs(), outputs="trace"
    )


def test_whole_numbers_and_truth_values_go_into_branches():
    def network(p, x):
        @jax.checkpoint
        def layer(x, which, kept):
            def one(x):
                hidden = jnp.tanh(jnp.where(kept[:, None], x, 0.0) @ p["w"])
                return hidden * which.astype(x.dtype)[:, None]

            return lax.cond(p["b"][0] < 5, one, lambda x: x, x)

        return layer(x, jnp.argmax(x, axis=1), x[:, 0] > 0) @ p["v"]

    assert_exact(network, _params(), _inputs(), outputs="trace")


def test_results_that_are_no_numbers_leave_the_choice_as_it_is():
    def network(p, x):
        @jax.checkpoint
        def layer(x):
            return lax.cond(
                p["b"][0] < 5, lambda x: (x @ p["w"], x[:, 0] > 0), lambda x: (x, x[:, 0] < 0), x
            )

        out, positive = layer(x)
        return jnp.where(positive[:, None], out, 2 * out) @ p["v"]

    assert_exact(network, _params(), _inputs(), outputs="trace")


def test_an_example_that_takes_another_branch_reads_nothing():
    def network(p, x):
        @jax.checkpoint
        def layer(x):
            return lax.cond(p["b"][0] < 5, lambda x: jnp.tanh(x @ p["w"]), lambda x: x, x)

        def of_one(x):
            return lax.cond(x[0, 0] > 0, layer, lambda x: jnp.sin(x) @ p["w"], x)

        return jax.vmap(of_one)(x[:, None])[:, 0] @ p["v"]

    assert_exact(network, _params(), _inputs(), outputs="trace")


def test_a_checkpointed_choice_inside_a_loop():
    def network(p, x):
        @jax.checkpoint
        def layer(x, w, choice):
            return lax.switch(
                choice, [lambda: x, lambda: jnp.tanh(x @ w), lambda: x * p["b"][None]]
            )

        def step(x, at):
            return layer(x, *at), None

        return lax.scan(step, x, (p["stack"], jnp.asarray([1, 0, 2, 1])))[0] @ p["v"]

    assert_exact(network, _params(), _inputs(), outputs="trace")


def test_a_choice_under_a_checkpoint_hands_nothing_on_that_another_branch_needs():
    """On the way back only what goes into the choice is held, not what its branches need."""

    def kernels(p, x, choice, checkpointed):
        def choose(p, x):
            branches = [lambda x: jnp.sin(jnp.cos(x @ p["w"])) * jnp.exp(x), lambda x: x]
            return lax.switch(choice, branches, x)

        layer = jax.checkpoint(choose) if checkpointed else choose
        return layer_kernels(lambda p, x: layer(p, x) @ p["v"], p, x, outputs="sum")

    def most_results(checkpointed):
        program = jax.make_jaxpr(lambda *at: kernels(*at, checkpointed))(_params(), _inputs(), 1)
        return max(len(eqn.outvars) for eqn in _choices(program))

    # Forward the result alone; backward the cotangents of the input and of the two places.
    assert most_results(checkpointed=True) <= 3
    assert most_results(checkpointed=False) > 3


def _choices(program):
    for eqn in getattr(program, "jaxpr", program).eqns:
        if eqn.primitive.name == "cond":
            yield eqn
        leaves = jax.tree.leaves(eqn.params, is_leaf=_holds_a_program)
        for inner in filter(_holds_a_program, leaves):
            yield from _choices(inner)


def _holds_a_program(value):
    return hasattr(getattr(value, "jaxpr", value), "eqns")


def test_a_program_that_is_called_again_is_traced_once(monkeypatch):
    runs = Counter()
    opened = calls._opened

    def counted(run, closed, program, ends):
        call = opened(run, closed, program, ends)

        def counting(arrays):
            runs[id(program)] += 1
            return call(arrays)

        return counting

    monkeypatch.setattr(calls, "_opened", counted)
    layer = jax.jit(lambda x, w: jnp.tanh(x @ w))

    def network(p, x):
        for number in range(4):
            x = layer(x, p["stack"][number])
        return layer(x, p["w"]) @ p["v"]

    def split(p, x):
        stack = {f"w{number}": p["stack"][number] for number in range(4)}
        return {**p, **stack}, x

    def of_own(p, x):
        for number in range(4):
            x = layer(x, p[f"w{number}"])
        return layer(x, p["w"]) @ p["v"]

    params, x = split(_params(), _inputs())
    assert_exact(of_own, params, x, outputs="trace")
    runs.clear()
    jax.make_jaxpr(lambda p: layer_kernels(of_own, p, x, outputs="sum"))(params)
    assert list(runs.values()) == [1], runs


@pytest.mark.parametrize("outputs", ["sum", "trace"])
def test_calls_that_share_a_program_and_not_their_weights(outputs):
    layer = jax.jit(lambda x, w, u: jnp.tanh(x @ w) @ u)

    def network(p, x):
        x = layer(x, p["w"], p["stack"][0])
        x = layer(x, p["w"], p["w"])
        x = layer(x, jnp.eye(3), p["more"][1])
        return layer(x, p["stack"][2], jnp.diag(x[0])) @ p["v"]

    def of_one(p, x):
        return jax.vmap(lambda each: network(p, each[None])[0])(x)

    assert_exact(of_one, _params(), _inputs(), outputs=outputs)


def test_a_call_of_a_program_with_random_keys():
    key = jax.random.key(3)
    layer = jax.jit(lambda x, w, key: x @ w + jax.random.normal(key, (3,))[None])
    params, x = _params(), _inputs()

    def network(p, x, key):
        return layer(layer(x, p["w"], key), p["stack"][0], key) @ p["v"]

    found = layer_kernels(network, params, x, state=key, outputs="sum")
    wanted = empirical_ntk(
        lambda p, x: network(p, x, key),
        params,
        x,
        outputs="sum",
        method="per_example_gradients",
        check=False,
    )
    np.testing.assert_allclose(sum(found.values()), wanted, rtol=1e-12)
