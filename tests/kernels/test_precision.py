"""The precision of products is what was asked for, everywhere; and what a lower one would do.

A CPU computes float32 products in float32 whatever the precision says, so the first test looks at
the traced program, and the second rounds the factors of the last product as a TPU would.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core as jax_core

from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.program import layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics import evaluate
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.population.strategies import plan
from tests.networks import tiny

PRODUCTS = ("dot_general", "conv_general_dilated")


def _programs(value):
    if isinstance(value, jax_core.ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, jax_core.Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _programs(each)


def _precisions(jaxpr):
    found = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in PRODUCTS:
            found.append(eqn.params["precision"])
        for parameter in eqn.params.values():
            for program in _programs(parameter):
                found += _precisions(program)
    return found


def _cell_kernel(precision):
    settings = KernelSettings(batch_norm="frozen", **precision)
    net = tiny.network(cells_per_stage=1)
    kernels = layer_kernel_fn(cell_model(net), settings, (8, 8, 3))
    arch = jnp.asarray(tiny.ALL_OPS, jnp.int32)
    return jax.make_jaxpr(kernels)(tiny.variables(net), jnp.asarray(tiny.images()), arch)


def _routed_kernel(precision):
    settings = KernelSettings(batch_norm="frozen", **precision)
    net = tiny.network(cells_per_stage=1)
    planned = plan("routed", cell_model(net), settings, (5, 8, 8, 3), np.array([tiny.ALL_OPS]), 1)
    work = jax.tree.map(lambda leaf: leaf[0], planned.work)
    return jax.make_jaxpr(planned.fn)(tiny.variables(net), jnp.asarray(tiny.images()), work)


def _linen_kernel(precision):
    model = nn.Sequential([nn.Conv(3, (3, 3)), nn.relu, lambda x: x.mean(axis=1), nn.Dense(2)])
    x = jnp.ones((4, 5, 5, 2), jnp.float32)
    params = model.init(jax.random.key(0), x)["params"]

    def kernel(params, x):
        return empirical_ntk(
            lambda p, x: model.apply({"params": p}, x).sum(axis=1),
            params,
            x,
            outputs="sum",
            **precision,
        )

    return jax.make_jaxpr(kernel)(params, x)


KERNELS = {"cell": _cell_kernel, "routed": _routed_kernel, "linen": _linen_kernel}
ASKED = {
    "by default": ({}, lax.Precision.HIGHEST),
    "high": ({"matmul_precision": "high"}, lax.Precision.HIGH),
    "default": ({"matmul_precision": "default"}, lax.Precision.DEFAULT),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("name", KERNELS)
def test_every_product_has_the_precision_asked_for(name, asked):
    arguments, wanted = ASKED[asked]
    found = _precisions(KERNELS[name](arguments).jaxpr)
    assert len(found) > 4
    sides = {side for each in found for side in (each if isinstance(each, tuple) else (each,))}
    assert sides == {wanted}


def _kernel(jac_NxP, mantissa_bits):
    rounded = lax.reduce_precision(jnp.asarray(jac_NxP, jnp.float32), 8, mantissa_bits)
    wide = np.asarray(rounded, np.float64)
    return wide @ wide.T


def test_bfloat16_products_leave_lga_and_change_the_condition_number():
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 4
    # Gradients of images of a class resemble each other, and two images are nearly the same.
    jac_NxP = rng.normal(size=(4, 300))[labels] + rng.normal(size=(32, 300))
    jac_NxP[1] = jac_NxP[5] + 1e-3 * rng.normal(size=300)
    # In full float32, as TensorFloat32 and as bfloat16 (mantissas of 23, 10 and 7 bits).
    scores = {bits: evaluate(_kernel(jac_NxP, bits), labels) for bits in (23, 10, 7)}
    lga = {bits: score["lga"].value for bits, score in scores.items()}
    condition = {bits: score["condition_number"].value for bits, score in scores.items()}
    assert abs(lga[7] - lga[23]) < 1e-3, lga
    assert abs(lga[10] - lga[23]) < 1e-4, lga
    assert abs(np.log(condition[10] / condition[23])) < np.log(2), condition
    assert abs(np.log(condition[7] / condition[23])) > np.log(2), condition
