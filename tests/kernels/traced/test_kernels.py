"""Each parameter has its own kernel, and norms are the diagonal of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels.function import example_program, function_of
from jaxntk.kernels.outputs import Combinations
from jaxntk.kernels.traced.kernels import Kernels
from jaxntk.kernels.traced.survey import survey
from tests.kernels.explicit import combined, full_kernel, jacobians
from tests.networks.tiny import assert_close

N = 5


def _network(p, x):
    def step(x, w):
        return jnp.tanh(x @ w), None

    x = p["words"][x].mean(axis=1) * p["scale"][None]
    x, _ = lax.scan(step, x, p["stack"])
    x = jnp.tanh(jnp.tanh(x @ p["twice"]) @ p["twice"]) + jnp.exp(p["shift"])[None]
    return x @ p["readout"]


SHAPES = {
    "words": (6, 3),
    "scale": (3,),
    "stack": (4, 3, 3),
    "twice": (3, 3),
    "shift": (3,),
    "readout": (3, 2),
    "unused": (2,),
}


class Case:
    """One network with parameters of every kind."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.params = {
            name: jnp.asarray(0.7 * rng.normal(size=shape)) for name, shape in SHAPES.items()
        }
        self.x = jnp.asarray(rng.integers(0, 6, (N, 4)))
        self.rows = jacobians(_network, self.params, self.x)
        self.full = full_kernel(self.rows)
        function = function_of(_network, self.params, None, "all", None)
        self.program = example_program(function, self.x)
        self.found = survey(self.program)
        self.names = [path[0] for path in function.paths]
        self.arrays = function.entering

    def kernels(self, outputs, route="auto"):
        return Kernels(self.program, self.found, outputs, route, jnp.dtype("float64"))


@pytest.fixture(scope="module")
def case():
    return Case()


@pytest.mark.parametrize("route", ["factorised", "materialised"])
def test_each_parameter_has_the_kernel_of_its_own_jacobian(case, route):
    found = jax.jit(case.kernels("trace", route).block)(case.arrays, [case.x])
    assert {case.names[key] for key in found} == SHAPES.keys() - {"unused"}
    for key, kernel in found.items():
        name = case.names[key]
        leading = SHAPES[name][:1] if name == "stack" else ()
        assert kernel.shape == (*leading, N, N), name
        rows = case.rows[name].reshape(N, 2, *leading, -1)
        wanted = np.einsum("nc...p,mc...p->...nm", rows, rows)
        assert_close(kernel, wanted, 1e-10)


def _weights_of(outputs):
    ones = np.array([[1.0, -2.0], [0.5, 1.0]])
    basis = {"trace": np.eye(2), "sum": np.ones((1, 2)), "own": ones}[outputs]
    if outputs == "own":
        return Combinations(2, lambda number: jnp.asarray(ones)[number]), basis
    return outputs, basis


@pytest.mark.parametrize("outputs", ["trace", "sum", "own"])
@pytest.mark.parametrize("route", ["factorised", "materialised"])
def test_norms_are_the_diagonal(case, outputs, route):
    given, basis = _weights_of(outputs)
    norms = jax.jit(case.kernels(given, route).square_norms)(case.arrays, [case.x])
    wanted = np.einsum("kc,kd,iicd->i", basis, basis, case.full)
    assert_close(norms, wanted, 1e-10)


def test_combinations_of_ones_own_are_added_up(case):
    given, basis = _weights_of("own")
    found = jax.jit(case.kernels(given).block)(case.arrays, [case.x])
    total = sum(np.asarray(kernel).reshape(-1, N, N).sum(axis=0) for kernel in found.values())
    assert_close(total, np.einsum("kc,kd,ijcd->ij", basis, basis, case.full), 1e-10)


@pytest.mark.parametrize("outputs", ["sum", "full"])
def test_tiles_and_blocks_are_parts_of_the_whole(case, outputs):
    kernels, whole = case.kernels(outputs), combined(case.full, outputs)
    if outputs == "full":
        whole = whole.transpose(0, 2, 1, 3).reshape(2 * N, 2 * N)
    each = len(whole) // N

    @jax.jit
    def compute(arrays, x):
        return (
            kernels.block(arrays, [x], (2, 3)),
            kernels.tiled(arrays, [x], None, 2),
            kernels.tiled(arrays, [x[:3]], [x[3:]], 2),
        )

    block, tiles, corner = (
        sum(np.asarray(each).reshape(-1, *each.shape[-2:]).sum(axis=0) for each in found.values())
        for found in compute(case.arrays, case.x)
    )
    assert_close(block, whole[: 2 * each, 2 * each :], 1e-10)
    assert_close(tiles, whole, 1e-10)
    assert_close(corner, whole[: 3 * each, 3 * each :], 1e-10)
