"""The numbers of one device on eight devices, and on two processes that were joined."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.population.devices import join_processes, population_mesh
from jaxntk.population.sharded_images import sharded_kernel

# Each process compiles everything anew: minutes on two cores.
pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("distributed_worker.py")
TIMEOUT_SECONDS = 600
METHODS = ("map", "routed", "images")


def start(devices, *arguments):
    """Starts a worker that sees as many devices, each a share of the CPU."""
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
    }
    environment.pop("XLA_FLAGS", None)
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(workers):
    """Waits for workers; none outlives the test."""
    try:
        for worker in workers:
            said, _ = worker.communicate(timeout=TIMEOUT_SECONDS)
            assert worker.returncode == 0, said[-3000:]
    finally:
        for worker in workers:
            worker.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    out = tmp_path_factory.mktemp("eight") / "kernels.npz"
    finish([start(8, out)])
    return np.load(out)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    address = f"localhost:{free_port()}"
    outs = [folder / f"process_{number}.npz" for number in range(2)]
    finish([start(1, out, address, 2, number) for number, out in enumerate(outs)])
    return [np.load(out) for out in outs]


def assert_same(got, wanted):
    assert got.dtype == wanted.dtype == np.float64
    for cell, (one, other) in enumerate(zip(got, wanted, strict=True)):
        error, scale = np.abs(one - other).max(), np.abs(wanted).max()
        assert error <= 1e-12 * scale, f"cell {cell}: {error:.2e} of {scale:.2e}"


@pytest.mark.parametrize("method", METHODS)
def test_eight_devices_give_what_one_gives(eight, method):
    assert (int(eight["devices"]), int(eight["local_devices"])) == (8, 8)
    assert_same(eight[method], eight["one device"])


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_give_what_one_device_gives(eight, two_processes, method):
    for process in two_processes:
        assert (int(process["devices"]), int(process["local_devices"])) == (2, 1)
        assert_same(process[method], eight["one device"])


@pytest.mark.parametrize("method", METHODS)
def test_both_processes_have_the_same_numbers(two_processes, method):
    np.testing.assert_array_equal(*(process[method] for process in two_processes))


def test_process_numbers_are_checked():
    with pytest.raises(InputError, match="from 0"):
        join_processes("localhost:1", 2, 2)


def test_a_mesh_needs_a_device():
    with pytest.raises(InputError, match="devices"):
        population_mesh([])


def test_a_tile_and_shared_images_exclude_each_other():
    network = NasBench201(3, 2, 1, BatchNormMode.FROZEN)
    x = np.zeros((4, 8, 8, 3), np.float32)
    variables = init_variables(network, jax.random.key(0), (8, 8, 3), np.dtype("float32"))
    with pytest.raises(InputError, match="tile"):
        sharded_kernel(
            cell_model(network), KernelSettings(batch_norm="frozen", tile=2), variables, x
        )
