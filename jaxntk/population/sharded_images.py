"""The kernel of one architecture whose images are spread over devices.

Each device runs the network forwards and backwards on its own images and computes their rows of
the kernel; for each layer the per-example gradients of the other devices are fetched, and batch
statistics are summed over all of them. The program is that of one device, compiled with shardings.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float, Shaped

from jaxntk.errors import InputError
from jaxntk.kernels.program import kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.model import Model, check_arch
from jaxntk.population.devices import AXIS, Devices, distribute, gather, population_mesh, replicate

ShardedKernel = Callable[[Shaped[np.ndarray, "*genes"]], Float[np.ndarray, "n n"]]


def sharded_kernel(
    model: Model,
    settings: KernelSettings,
    variables: Any,
    x: Float[np.ndarray, "n h w c"],
    devices: Devices | None = None,
) -> ShardedKernel:
    """Spreads the images of a kernel over devices.

    Args:
        model: the network.
        settings: the kernel wanted, without a tile.
        variables: the Flax collections, in the dtype of the kernel; the same in every process.
        x: the images, in the dtype of the activations; the same in every process.
        devices: by default all there are, those of other processes included.

    Returns:
        A function of the encoding. All processes call it alike, and get the whole kernel.

    Raises:
        InputError: a tile, or images that do not fall into equal parts.
    """
    mesh = population_mesh(devices)
    if settings.tile is not None:
        cure = "give none: each device holds its share of the images only"
        raise InputError("tile", settings.tile, cure)
    if len(x) % mesh.size:
        cure = f"give a multiple of {mesh.size}, the number of devices"
        raise InputError("num_images", len(x), cure)
    kernel = kernel_fn(model, settings, x.shape)
    whole, cut = (NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec(AXIS)))
    compiled = jax.jit(kernel, in_shardings=(whole, cut, whole), out_shardings=cut)
    on_devices = partial(compiled, replicate(mesh, variables), distribute(mesh, x))

    def of(arch: Shaped[np.ndarray, "*genes"]) -> Float[np.ndarray, "n n"]:
        return gather(on_devices(replicate(mesh, check_arch(model, arch))))

    return of
