"""The two network functions on which the methods are compared on NAS-Bench-201.

``same function``: that of ``gram``, one function for all cells, of which the cell is an input, so
that it compiles once (:mod:`jaxntk.networks.nasbench201`). neural-tangents' methods differentiate
it as JAX does, in forward and in reverse mode; per-example gradients go through the backward pass
that is written out for ``gram``. What a cell has not chosen is part of every Jacobian, as zeros.

``ordinary``: the network of one cell as one would write it, unrolled, with JAX's own derivatives
(:mod:`jaxntk.networks.nasbench201_plain`), compiled once a cell, and without the parameters that do
not reach its output.

Weights and images are the same, the statistics of the batch are held constant in both, and the
kernel is that of the summed logits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Int

from benchmarks.naive_kernel import PerCell, used_paths
from jaxntk.kernels.arguments import Method
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.program import layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks import nasbench201
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables, logits
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize
from jaxntk.spaces.nasbench201 import enumerate_space

SAME, ORDINARY = "same function", "ordinary network"

Kernel = Callable[..., jax.Array]


class Variant(NamedTuple):
    """A method on one of the two network functions.

    Args:
        method: the method.
        same_function: whether on that of ``gram``.
    """

    method: Method
    same_function: bool

    @property
    def name(self) -> str:
        """How rows and pictures call it; the ordinary network goes without saying."""
        other = self.same_function and self.method != "gram"
        return f"{self.method}, {SAME}" if other else self.method


@dataclass(frozen=True, eq=False)
class Cells:
    """Some cells, and what their kernels are taken of.

    Args:
        network: all cells in one.
        variables: its weights.
        x: the images.
        archs: the cells.
    """

    network: NasBench201
    variables: Any
    x: jax.Array
    archs: Int[np.ndarray, "cells 6"]

    def kernel(
        self, variant: Variant, arch: Int[np.ndarray, "6"]
    ) -> tuple[Kernel, tuple[Any, ...]]:
        """Returns the kernel function of a cell and its arguments.

        Args:
            variant: the method and the network function.
            arch: the cell.

        Returns:
            The function, the same for all cells of ``same function``, and what it is called with.
        """
        if not variant.same_function:
            cell = tuple(int(op) for op in arch)
            return plain_kernel(cell, variant.method), (self.variables["params"], self.x)
        arguments = (self.variables, self.x, jnp.asarray(arch, jnp.int32))
        if variant.method == "gram":
            return gram_kernel(self.network, self.x.shape[1:]), arguments
        return shared_kernel(self.network, variant.method), arguments


def draw_cells(n: int, cells: int, seed: int, *, tiny: bool) -> Cells:
    """Draws images, weights and cells.

    Args:
        n: images.
        cells: how many.
        seed: of all.
        tiny: a network of 2 channels and 1 cell a stage on images of 8 pixels.

    Returns:
        The cells.
    """
    small = {"channels": 2, "cells_per_stage": 1} if tiny else {}
    network = NasBench201(
        **({"num_classes": 10, "channels": 16, "cells_per_stage": 5} | small),
        batch_norm=BatchNormMode.FROZEN,
    )
    side = 8 if tiny else 32
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(n, side, side, 3)), jnp.float32)
    variables = init_variables(network, jax.random.key(seed), x.shape[1:], jnp.dtype("float32"))
    every_cell = enumerate_space()
    drawn = rng.choice(len(every_cell), size=cells, replace=False)
    return Cells(network, variables, x, every_cell[drawn])


def gram_kernel(network: NasBench201, image: tuple[int, ...]) -> Kernel:
    """Returns the kernel of any cell by the Gram rules.

    Args:
        network: all cells in one.
        image: height, width, channels of one image.

    Returns:
        ``(variables, x, arch) -> kernel``.
    """
    kernels = layer_kernel_fn(cell_model(network), KernelSettings(batch_norm="frozen"), image)

    def kernel(variables: Any, x: jax.Array, arch: jax.Array) -> jax.Array:
        return total(kernels(variables, x, arch))

    return kernel


def shared_kernel(network: NasBench201, method: Method) -> Kernel:
    """Returns the kernel of any cell by another method, of the network function of ``gram``.

    Args:
        network: all cells in one.
        method: the method.

    Returns:
        ``(variables, x, arch) -> kernel``.
    """
    stored = network.clone(batch_norm=BatchNormMode.STORED)

    def kernel(variables: Any, x: jax.Array, arch: jax.Array) -> jax.Array:
        statistics = {"batch_stats": nasbench201.batch_statistics(network, variables, x, arch)}

        def apply_fn(params: Any, x: jax.Array) -> jax.Array:
            return logits(stored, {**statistics, "params": params}, x, arch)

        return empirical_ntk(
            apply_fn, variables["params"], x, outputs="sum", method=method, parameters="lga"
        )

    return kernel


def plain_kernel(arch: tuple[int, ...], method: Method) -> Callable[..., jax.Array]:
    """Returns the kernel of one cell's plain network by one of the other methods.

    The cells of a stage are parameters of their own and only those that reach the output enter, so
    that no time goes into gradients that are zero anyway.

    Args:
        arch: six operations as Python numbers.
        method: the method.

    Returns:
        ``(params, x) -> kernel``.
    """

    def kernel(params: Any, x: jax.Array) -> jax.Array:
        statistics = batch_statistics(params, x, arch)
        flat = traverse_util.flatten_dict(params)
        used = set(used_paths(params, arch))
        apart = {
            path: dict(enumerate(leaf)) if path[0].startswith("stage_") else leaf
            for path, leaf in flat.items()
            if path in used
        }

        def apply_fn(entering: Any, x: jax.Array) -> jax.Array:
            leaves = {
                path: PerCell(tuple(leaf.values())) if isinstance(leaf, dict) else leaf
                for path, leaf in entering.items()
            }
            tree = traverse_util.unflatten_dict({**flat, **leaves})
            return plain_logits(tree, x, arch, lambda path, x: standardize(x, *statistics[path]))

        return empirical_ntk(apply_fn, apart, x, outputs="sum", method=method)

    return kernel
