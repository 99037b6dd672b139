"""The supernet against the network of a cell, a plain loop, and a float64 Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.errors import InputError
from jaxntk.kernels.program import compile_program, kernel_program
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.layers import Normalizer
from jaxntk.networks.nasbench201 import init_variables
from jaxntk.networks.nasbench201_model import supernet_model
from jaxntk.networks.nasbench201_supernet import SuperCell, Supernet
from jaxntk.spaces.nasbench201 import EDGES, OPS
from tests.networks import tiny

MODES = [BatchNormMode.FROZEN, BatchNormMode.BATCH]
MIXED = np.random.default_rng(3).random((6, 5)) < 0.5
MIXED[0] = True
MIXED[3] = [True, False, False, False, False]


def supernet(mode=BatchNormMode.FROZEN):
    return Supernet(num_classes=tiny.NUM_CLASSES, channels=3, cells_per_stage=2, batch_norm=mode)


def one_hot(arch):
    return jnp.asarray(np.eye(len(OPS), dtype=bool)[list(arch)])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("arch", [tiny.ALL_OPS, tiny.CHAIN, (3, 3, 3, 3, 3, 3)])
def test_one_operation_an_edge_is_the_network_of_the_cell(mode, arch):
    network = tiny.network(batch_norm=mode)
    variables, x = tiny.variables(network), jnp.asarray(tiny.images())
    wanted = network.apply(variables, x, jnp.asarray(arch, jnp.int32))
    got = supernet(mode).apply(variables, x, one_hot(arch))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12)


def test_both_draw_the_same_parameters():
    args = (jax.random.key(1), (8, 8, 3), jnp.dtype("float64"))
    ours, theirs = init_variables(supernet(), *args), init_variables(tiny.network(), *args)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def plain_cell(params, x, mask):
    """Means over operations, with JAX's own convolution and pooling."""

    def convolved(x, kernel, bias):
        layout = ("NHWC", "HWIO", "NHWC")
        out = lax.conv_general_dilated(
            jnp.maximum(x, 0), kernel, (1, 1), "SAME", dimension_numbers=layout
        )
        out = out + bias.reshape(1, 1, 1, -1)
        mean, var = out.mean((0, 1, 2), keepdims=True), out.var((0, 1, 2), keepdims=True)
        return (out - mean) / jnp.sqrt(var + 1e-5)

    def pooled(x):
        window = ((1, 3, 3, 1), (1, 1, 1, 1), "SAME")
        total = lax.reduce_window(x, 0.0, lax.add, *window)
        return total / lax.reduce_window(jnp.ones_like(x), 0.0, lax.add, *window)

    nodes = [x, 0, 0, 0]
    for kept, (to, source) in zip(mask, EDGES, strict=True):
        edge = params[f"edge_{to}_from_{source}"]
        made = [
            jnp.zeros_like(x),
            nodes[source] + jnp.zeros_like(x),
            convolved(nodes[source] + jnp.zeros_like(x), **edge["conv_1x1"]),
            convolved(nodes[source] + jnp.zeros_like(x), **edge["conv_3x3"]),
            pooled(nodes[source] + jnp.zeros_like(x)),
        ]
        nodes[to] += sum(made[op] for op in np.flatnonzero(kept)) / float(kept.sum())
    return nodes[3]


def test_an_edge_is_the_mean_of_its_operations():
    cell, x = SuperCell(Normalizer.BATCH, "pytorch"), jnp.asarray(tiny.images((4, 6, 6, 3)))
    variables = cell.init(jax.random.key(0), x, jnp.asarray(MIXED))
    got, _ = cell.apply(variables, x, jnp.asarray(MIXED))
    wanted = plain_cell(variables["params"], x, MIXED)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(mode, marks=pytest.mark.slow)
        for mode in (BatchNormMode.FROZEN, BatchNormMode.BATCH)
    ],
)
def test_its_kernel_is_that_of_its_jacobian(mode):
    network, x = supernet(mode), tiny.images()
    settings = KernelSettings(batch_norm=mode.value, parameters="all", dtype="float64")
    kernel = compile_program(kernel_program(supernet_model(network), settings, x.shape), x)
    variables = tiny.variables(network)
    got = kernel.executable(variables, kernel.x, jnp.asarray(MIXED))

    def outputs(params):
        logits = network.apply({**variables, "params": params}, jnp.asarray(x), jnp.asarray(MIXED))
        return logits.sum(axis=1)

    leaves = jax.tree.leaves(jax.jacrev(outputs)(variables["params"]))
    jac_NxP = np.concatenate([np.reshape(leaf, (len(x), -1)) for leaf in leaves], axis=1)
    wanted = jac_NxP @ jac_NxP.T
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())


def test_stored_statistics_are_refused():
    network = supernet(BatchNormMode.STORED)
    variables = tiny.variables(network)
    with pytest.raises(InputError, match="batch_norm: got stored"):
        network.apply(variables, jnp.asarray(tiny.images()), jnp.asarray(MIXED))
