"""Computes the same kernels on all devices there are: one process of the tests of devices.

Run as a script: ``distributed_worker.py OUT.npz [HOST:PORT NUM_PROCESSES PROCESS_ID]``.
"""

import sys

import jax
import numpy as np

from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.population.devices import join_processes
from jaxntk.population.kernels import population_kernels
from jaxntk.population.sharded_images import sharded_kernel
from jaxntk.spaces import nasbench201

NETWORK = NasBench201(3, 2, 1, BatchNormMode.FROZEN)
SETTINGS = KernelSettings(batch_norm="frozen", dtype="float64")
X = np.random.default_rng(0).normal(size=(8, 8, 8, 3))
# One more than eight devices take at a time. Drawn without JAX: processes join before it starts.
ARCHS = nasbench201.enumerate_space()[np.random.default_rng(5).choice(15625, 9, replace=False)]


def kernels(devices, strategy):
    chunk = len(devices)
    return population_kernels(
        cell_model(NETWORK), SETTINGS, X, ARCHS, strategy=strategy, chunk=chunk, devices=devices
    ).array()


def main(out, *process):
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    if process:
        join_processes(process[0], int(process[1]), int(process[2]))
    results = {
        "devices": jax.device_count(),
        "local_devices": jax.local_device_count(),
        "map": kernels(jax.devices(), "map"),
        "routed": kernels(jax.devices(), "routed"),
    }
    if not process:
        results["one device"] = kernels(jax.devices()[:1], "map")
    variables = init_variables(NETWORK, jax.random.key(0), X.shape[1:], np.dtype("float64"))
    sharded = sharded_kernel(cell_model(NETWORK), SETTINGS, variables, X)
    results["images"] = np.stack([sharded(arch) for arch in ARCHS])
    np.savez(out, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
