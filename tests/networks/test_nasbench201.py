"""The network of all cells against the plain network of one cell."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import batch_statistics, init_variables
from tests.networks import tiny

CELLS = (tiny.ALL_OPS, tiny.CHAIN, tiny.NONE)


@pytest.fixture(
    scope="module", params=[mode for mode in BatchNormMode if mode is not BatchNormMode.NONE]
)
def mode(request):
    return request.param


@pytest.fixture(scope="module")
def drawn():
    return tiny.variables(tiny.network())


@pytest.fixture(scope="module")
def apply_fn(mode):
    return jax.jit(tiny.network(batch_norm=mode).apply)


@pytest.mark.parametrize("arch", CELLS)
def test_logits_are_those_of_the_plain_network(mode, drawn, apply_fn, arch):
    x = jnp.asarray(tiny.images())
    logits = apply_fn(drawn, x, jnp.asarray(arch, jnp.int32))
    plain = jax.jit(tiny.plain_network(mode, drawn, x, arch))(drawn["params"])
    assert logits.dtype == np.float64
    tiny.assert_close(logits, plain, 1e-10)


def test_modes_agree_where_they_should(drawn):
    x, arch = jnp.asarray(tiny.images()), jnp.asarray(tiny.ALL_OPS, jnp.int32)
    logits = {
        mode: tiny.network(batch_norm=mode).apply(drawn, x, arch)
        for mode in BatchNormMode
        if mode is not BatchNormMode.NONE
    }
    tiny.assert_close(logits[BatchNormMode.FROZEN], logits[BatchNormMode.BATCH], 1e-13)
    apart = [BatchNormMode.BATCH, BatchNormMode.RUNNING, BatchNormMode.STORED]
    for index, one in enumerate(apart):
        for other in apart[index + 1 :]:
            assert not np.allclose(logits[one], logits[other], rtol=1e-3), (one, other)


def test_stored_statistics_of_a_batch_give_back_its_logits(drawn):
    x, arch = jnp.asarray(tiny.images()), jnp.asarray(tiny.ALL_OPS, jnp.int32)
    net = tiny.network(batch_norm=BatchNormMode.STORED)
    updated = {**drawn, "batch_stats": batch_statistics(net, drawn, x, arch)}
    whole = net.apply(updated, x, arch)
    tiny.assert_close(whole, tiny.network().apply(drawn, x, arch), 1e-12)
    tiny.assert_close(net.apply(updated, x[:2], arch), whole[:2], 1e-12)


def test_one_trace_serves_all_cells(drawn):
    traces = 0
    net = tiny.network(batch_norm=BatchNormMode.STORED)

    @jax.jit
    def apply(variables, x, arch):
        nonlocal traces
        traces += 1
        return net.apply(variables, x, arch)

    x = jnp.asarray(tiny.images())
    archs = [*CELLS, (1, 1, 1, 1, 1, 1), (4, 0, 2, 3, 1, 4)]
    logits = [np.asarray(apply(drawn, x, jnp.asarray(arch, jnp.int32))) for arch in archs]
    assert traces == 1
    for index, one in enumerate(logits):
        for other in logits[index + 1 :]:
            assert not np.allclose(one, other)


@pytest.mark.parametrize(
    ("channels", "cells", "classes", "image"),
    [(3, 1, 2, (8, 8, 3)), (5, 3, 7, (8, 12, 1)), (2, 2, 4, (32, 32, 3)), (4, 1, 3, (4, 4, 2))],
)
def test_sizes_are_free(channels, cells, classes, image):
    net = tiny.network(channels=channels, cells_per_stage=cells, num_classes=classes)
    x = jax.ShapeDtypeStruct((2, *image), jnp.float64)
    arch = jax.ShapeDtypeStruct((6,), jnp.int32)
    drawn = jax.eval_shape(
        lambda key: init_variables(net, key, image, jnp.dtype("float64")), jax.random.key(0)
    )
    assert jax.eval_shape(net.apply, drawn, x, arch).shape == (2, classes)
    flat: dict[Any, Any] = traverse_util.flatten_dict(drawn["params"])
    shapes = {path: leaf.shape for path, leaf in flat.items()}
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype("float64")}
    wanted = {
        ("stem", "kernel"): (3, 3, image[-1], channels),
        ("stem_norm", "scale"): (channels,),
        ("stage_1", "edge_2_from_1", "conv_3x3", "kernel"): (cells, 3, 3, channels, channels),
        ("stage_2", "edge_3_from_0", "conv_1x1", "bias"): (cells, 2 * channels),
        ("reduction_1", "conv_a", "kernel"): (3, 3, channels, 2 * channels),
        ("reduction_2", "shortcut", "kernel"): (1, 1, 2 * channels, 4 * channels),
        ("norm", "bias"): (4 * channels,),
        ("classifier", "kernel"): (4 * channels, classes),
        ("classifier", "bias"): (classes,),
    }
    assert {path: shapes[path] for path in wanted} == wanted
    # Stem, its norm, two reductions (3 + 4), stages x edges x (2 sizes x 2), norm, classifier.
    assert len(shapes) == 1 + 2 + 2 * 7 + 3 * 6 * 4 + 2 + 2


def test_cells_of_a_stage_are_drawn_apart(drawn):
    kernel = drawn["params"]["stage_1"]["edge_1_from_0"]["conv_3x3"]["kernel"]
    assert not np.allclose(kernel[0], kernel[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistics_start_at_zero_and_one(dtype):
    drawn = init_variables(tiny.network(), jax.random.key(0), (8, 8, 3), jnp.dtype(dtype))
    flat: dict[Any, Any] = traverse_util.flatten_dict(drawn["batch_stats"])
    for path, leaf in flat.items():
        assert leaf.dtype == dtype
        np.testing.assert_array_equal(leaf, np.full(leaf.shape, float(path[-1] == "var")))
