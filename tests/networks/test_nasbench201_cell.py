"""The cell's own backward pass against JAX's, and the edges that lead nowhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.networks.forward_mode import forward_mode
from jaxntk.networks.layers import Normalizer
from jaxntk.networks.nasbench201_cell import Cell, _cell_function, without_dead_ends
from jaxntk.spaces.nasbench201 import EDGES, enumerate_space
from tests.networks import tiny

CELLS = (
    tiny.ALL_OPS,
    tiny.CHAIN,
    tiny.NONE,
    (3, 3, 3, 3, 3, 3),
    (2, 1, 3, 4, 2, 1),
    (0, 3, 1, 0, 4, 2),
)


@pytest.fixture(scope="module", params=list(Normalizer))
def normalizer(request):
    return request.param


@pytest.fixture(scope="module")
def problem(normalizer):
    """A cell, its variables, an input and a direction to pull back, in float64."""
    cell = Cell(normalizer, "pytorch")
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 6, 6, 3)))
    direction = jnp.asarray(rng.normal(size=x.shape))
    variables = cell.init(jax.random.key(0), x, jnp.zeros(6, jnp.int32))
    shaken = jax.tree.map(lambda leaf: leaf + rng.uniform(0.2, 0.8, leaf.shape), variables)
    return cell, shaken, x, direction


def gradient(problem, arch):
    cell, variables, x, direction = problem

    def inner_product(params, x):
        out, _ = cell.apply({**variables, "params": params}, x, jnp.asarray(arch, jnp.int32))
        return jnp.sum(out * direction)

    return jax.grad(inner_product, argnums=(0, 1))(variables["params"], x)


@pytest.mark.parametrize("arch", CELLS)
def test_the_backward_pass_is_that_of_automatic_differentiation(problem, arch):
    ours = gradient(problem, arch)
    with forward_mode():
        automatic = gradient(problem, arch)
    assert jax.tree.structure(ours) == jax.tree.structure(automatic)
    for (path, got), wanted in zip(
        jax.tree.leaves_with_path(ours), jax.tree.leaves(automatic), strict=True
    ):
        error = float(jnp.max(jnp.abs(got - wanted)))
        scale = max(1.0, float(jnp.max(jnp.abs(wanted))))
        assert error <= 1e-11 * scale, (jax.tree_util.keystr(path), arch, error)


def test_the_backward_pass_maps_over_cotangents(problem):
    cell, variables, x, direction = problem
    arch = jnp.asarray(tiny.ALL_OPS, jnp.int32)
    _, pull_back = jax.vjp(lambda x: cell.apply(variables, x, arch)[0], x)
    both = jax.vmap(pull_back)(jnp.stack([direction, 2 * x]))[0]
    tiny.assert_close(both[0], pull_back(direction)[0], 1e-12)
    tiny.assert_close(both[1], pull_back(2 * x)[0], 1e-12)


def test_a_backward_pass_traced_in_forward_mode_is_kept_for_no_other(problem):
    cell, variables, x, direction = problem
    arch = jnp.asarray((3, 0, 0, 1, 1, 0), jnp.int32)

    def pull_back():
        def out(kernel):
            edge = variables["params"]["edge_1_from_0"]
            conv = edge["conv_3x3"] | {"kernel": kernel}
            params = variables["params"] | {"edge_1_from_0": edge | {"conv_3x3": conv}}
            return jnp.sum(cell.apply({**variables, "params": params}, x, arch)[0] * direction)

        kernel = variables["params"]["edge_1_from_0"]["conv_3x3"]["kernel"]
        return jax.vjp(jax.jit(out), kernel)[1]

    def program(pulled_back):
        return str(jax.make_jaxpr(pulled_back)(jnp.float64(1.0)))

    _cell_function.cache_clear()
    wanted = program(pull_back())
    _cell_function.cache_clear()
    back = pull_back()
    with forward_mode():
        inside = back(jnp.float64(1.0))[0]
    again = pull_back()
    assert program(again) == wanted
    assert float(jnp.abs(inside).max()) > 0
    tiny.assert_close(inside, again(jnp.float64(1.0))[0], 1e-12)


def test_going_back_holds_nodes_and_not_what_branches_need(problem):
    cell, variables, x, _ = problem
    arch = jnp.asarray(tiny.ALL_OPS, jnp.int32)

    def held():
        def apply(params, x):
            return cell.apply({**variables, "params": params}, x, arch)[0]

        # What is pulled back through: the residuals are the leaves of the closure.
        pull_back = jax.eval_shape(lambda p, x: jax.vjp(apply, p, x)[1], variables["params"], x)
        return sum(leaf.size for leaf in jax.tree.leaves(pull_back) if leaf.size >= x.size) / x.size

    assert 3 <= held() <= 4
    with forward_mode():
        assert 3 <= held() <= 9


def test_statistics_written_are_those_of_the_batch(problem, normalizer):
    cell, variables, x, _ = problem
    arch = jnp.asarray((3, 1, 0, 2, 4, 3), jnp.int32)
    _, updated = cell.apply(variables, x, arch, mutable=["batch_stats"])
    for (to, source), op in zip(EDGES, np.asarray(arch), strict=True):
        name = f"edge_{to}_from_{source}"
        got, before = updated["batch_stats"][name], variables["batch_stats"][name]
        if op not in (2, 3) or normalizer is Normalizer.STORED:
            tiny.assert_close(got["mean"], before["mean"], 0)
            tiny.assert_close(got["var"], before["var"], 0)
        elif source == 0:
            layer = variables["params"][name]["conv_1x1" if op == 2 else "conv_3x3"]
            out = lax.conv_general_dilated(
                jnp.maximum(x, 0),
                layer["kernel"],
                (1, 1),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            out = np.asarray(out + layer["bias"].reshape(1, 1, 1, -1))
            tiny.assert_close(got["mean"], out.mean(axis=(0, 1, 2)), 1e-12)
            tiny.assert_close(got["var"], out.var(axis=(0, 1, 2)), 1e-12)


def leads_on(arch, node):
    """Whether a path leads from a node to the output, looked for edge by edge."""
    return node == 3 or any(
        op != 0 and leads_on(arch, to)
        for (to, source), op in zip(EDGES, arch, strict=True)
        if source == node
    )


def test_dead_ends_of_every_cell():
    every = enumerate_space()
    got = np.asarray(jax.jit(jax.vmap(without_dead_ends))(jnp.asarray(every, jnp.int32)))
    wanted = np.stack([
        [op if leads_on(arch, to) else 0 for (to, _), op in zip(EDGES, arch, strict=True)]
        for arch in every.tolist()
    ])
    wrong = np.flatnonzero((got != wanted).any(axis=1))
    assert wrong.size == 0, (every[wrong[:3]], got[wrong[:3]])
    assert (got != every).any()
