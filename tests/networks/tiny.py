"""Small networks and images, and the Jacobian of the plain network they are held against."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize

NUM_CLASSES = 3
NUM_IMAGES = 5
# Every operation; a chain of convolutions with dead edges; nothing that connects the output.
ALL_OPS = (3, 2, 4, 1, 3, 2)
CHAIN = (2, 4, 3, 0, 0, 3)
NONE = (0, 0, 0, 0, 0, 0)


def network(**changes):
    settings = {
        "num_classes": NUM_CLASSES,
        "channels": 3,
        "cells_per_stage": 2,
        "batch_norm": BatchNormMode.FROZEN,
    }
    return NasBench201(**(settings | changes))


def model(**changes):
    return cell_model(network(**changes))


def images(shape=(NUM_IMAGES, 8, 8, 3), seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def labelled_images(num, seed=0):
    """Images of 8 x 8 pixels whose class is their strongest colour, beside noise."""
    y = np.arange(num) % NUM_CLASSES
    noise = np.random.default_rng(seed).normal(size=(num, 8, 8, 3))
    return jnp.asarray(0.3 * noise + np.eye(3)[y][:, None, None, :]), jnp.asarray(y, jnp.int32)


def variables(net, image_shape=(8, 8, 3), dtype=jnp.float64, seed=0):
    """Draws parameters, and moves scales, biases and statistics away from 1 and 0."""
    drawn = init_variables(net, jax.random.key(seed), image_shape, jnp.dtype(dtype))
    rng = np.random.default_rng(seed)

    def shake(path, leaf):
        noise = jnp.asarray(rng.uniform(0.2, 0.8, leaf.shape), leaf.dtype)
        return leaf + noise if path[-1].key in ("scale", "bias", "mean", "var") else leaf

    return jax.tree_util.tree_map_with_path(shake, drawn)


def plain_normalize(mode, variables, x, arch):
    """Returns the normalisation of the plain network for a mode, statistics as constants."""
    if mode is BatchNormMode.FROZEN:
        seen = batch_statistics(variables["params"], jnp.asarray(x), arch)
        return lambda path, x: standardize(x, *seen[path])

    def stored(path):
        layers = path.split("/")
        flat: dict[Any, Any] = traverse_util.flatten_dict(variables["batch_stats"])
        if layers[0].startswith("stage"):
            index, key = int(layers[1]), (layers[0], layers[2])
            return flat[*key, "mean"][index], flat[*key, "var"][index]
        return flat[*layers, "mean"], flat[*layers, "var"]

    def normalize(path, x):
        in_cell = path.startswith("stage")
        if mode is BatchNormMode.STORED or (mode is BatchNormMode.RUNNING and not in_cell):
            return standardize(x, *stored(path))
        return standardize(x, x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2)))

    return normalize


def plain_network(mode, variables, x, arch):
    """Returns ``params -> logits`` of the plain network on a batch of images."""
    normalize = plain_normalize(mode, variables, x, arch)
    return partial(plain_logits, x=jnp.asarray(x), arch=arch, normalize=normalize)


def plain_jacobian(mode, variables, x, arch):
    """Returns ``{path: (n, classes, *parameter)}``, by JAX's own automatic differentiation."""
    jac = jax.jit(jax.jacrev(plain_network(mode, variables, x, arch)))(variables["params"])
    return {path: np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(jac).items()}


def layer_kernel(jac, stacked, outputs):
    """Returns the kernel ``(n, n)`` or ``(cells, n, n)`` of one parameter from its Jacobian."""
    if outputs == "sum":
        jac = jac.sum(axis=1, keepdims=True)
    n, classes = jac.shape[:2]
    flat = jac.reshape(n, classes, jac.shape[2] if stacked else 1, -1)
    kernel = np.einsum("nksp,mksp->snm", flat, flat)
    return kernel if stacked else kernel[0]


def explicit_kernel(jac, outputs, rule):
    """Returns ``J J^T`` over the parameters whose path the rule accepts."""
    chosen = [layer_kernel(leaf, False, outputs) for path, leaf in jac.items() if rule(path)]
    return np.sum(chosen, axis=0)


def assert_close(got, wanted, rtol=1e-10):
    """Compares relative to the largest entry, and says by how much they differ."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    scale = np.abs(wanted).max()
    error = np.abs(got - wanted).max() / (scale if scale > 0 else 1.0)
    assert error <= rtol, f"relative error {error:.3e} > {rtol:g}; largest entry {scale:.3e}"


@pytest.fixture(autouse=True, scope="module")
def quick_float64():
    """Float64 throughout; executables that run once are not worth optimising."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_disable_most_optimizations", before)


def shapes(net, image_shape):
    """Returns the shape of every variable of a network by its path."""
    drawn = jax.eval_shape(
        lambda key: init_variables(net, key, image_shape, jnp.dtype("float64")), jax.random.key(0)
    )
    flat: dict[Any, Any] = traverse_util.flatten_dict(drawn)
    return {path: leaf.shape for path, leaf in flat.items()}
