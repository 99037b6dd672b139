"""A kernel that does not fit into memory at once is computed in tiles or smaller chunks."""

import jax
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels import memory, memory_plan
from jaxntk.kernels.memory import MemoryEstimate, PeakBytes
from jaxntk.kernels.memory_plan import SHARE, check_memory, plan_memory
from jaxntk.kernels.program import KernelProgram
from jaxntk.kernels.settings import KernelSettings
from jaxntk.population import kernels
from jaxntk.population.kernels import population_kernels
from tests.networks import tiny
from tests.networks.tiny import quick_float64  # noqa: F401

MODEL = tiny.model(cells_per_stage=1)
ARCHS = np.array([tiny.ALL_OPS, tiny.CHAIN, tiny.NONE, tiny.ALL_OPS[::-1]])
FIXED, AN_IMAGE = 100, 10


def settings(**changes):
    return KernelSettings(batch_norm="frozen", dtype="float64", **changes)


def planned(monkeypatch, available, **changes):
    """Plans a program that takes a fixed number of bytes and some more an image of a tile."""

    class Program(KernelProgram):
        def estimate(self):
            peak = PeakBytes(FIXED, 0, AN_IMAGE * (self.settings.tile or 12), "scan")
            return MemoryEstimate(peak, "cpu", available)

    def program(model, settings, x_shape):
        return Program(model, settings, (None, None, None), jax.jit(abs), [])

    monkeypatch.setattr(memory_plan, "kernel_program", program)
    program, estimate = plan_memory(MODEL, settings(**changes), (12, 8, 8, 3))
    return program.settings.tile, estimate.peak.total


@pytest.mark.parametrize(
    ("usable", "tile"),
    [(220, None), (219, 6), (160, 6), (159, 4), (139, 3), (129, 2), (119, 1), (110, 1)],
)
def test_the_largest_tile_that_fits_is_taken(monkeypatch, usable, tile):
    # Rounded up, as a share is rounded down.
    found = planned(monkeypatch, int(np.ceil(usable / SHARE)))
    assert found == (tile, FIXED + AN_IMAGE * (tile or 12))


def test_what_never_fits_is_refused(monkeypatch):
    with pytest.raises(InputError, match=r"^num_images: got 12 images, .*; give fewer"):
        planned(monkeypatch, int(109 / SHARE))


def test_an_unknown_memory_is_not_planned(monkeypatch):
    assert planned(monkeypatch, None) == (None, 220)


def test_a_tile_that_was_asked_for_may_fill_the_memory_and_no_more(monkeypatch):
    assert planned(monkeypatch, 160, tile=6) == (6, 160)
    with pytest.raises(InputError, match=r"^tile: got 6, which takes about .*; give a smaller one"):
        planned(monkeypatch, 159, tile=6)


def test_a_real_program_is_tiled_and_holds_less(monkeypatch):
    monkeypatch.setattr(memory, "host_memory", lambda: 2**40)
    program, whole = plan_memory(MODEL, settings(), (12, 8, 8, 3))
    assert program.settings == settings()
    assert 0 < whole.share < SHARE
    monkeypatch.setattr(memory, "host_memory", lambda: int(0.95 * whole.peak.total / SHARE))
    tiled, estimate = plan_memory(MODEL, settings(), (12, 8, 8, 3))
    assert tiled.settings.tile in (1, 2, 3, 4, 6)
    assert estimate.share <= SHARE


@pytest.mark.parametrize(("needed", "available"), [(None, 9), (9, None), (9, 9)])
def test_what_the_compiler_reports_may_fill_the_memory(needed, available):
    check_memory(needed, available, None)


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (None, r"^num_images: got a kernel of .*; give a tile"),
        (8, r"^tile: got 8, a kernel of .*; give a smaller one"),
    ],
)
def test_more_than_there_is_by_the_compiler_is_refused(tile, message):
    with pytest.raises(InputError, match=message):
        check_memory(2**30 + 1, 2**30, tile)


def test_the_cells_of_a_population_are_named_where_they_are_too_many():
    with pytest.raises(InputError, match=r"^chunk: got 3, kernels of .*; give a smaller one"):
        check_memory(2**30 + 1, 2**30, None, chunk=3)


def kernels_of(chunk=None, strategy="routed"):
    x = tiny.images((6, 8, 8, 3))
    return population_kernels(MODEL, settings(), x, ARCHS, strategy=strategy, chunk=chunk)


@pytest.mark.slow
def test_a_population_is_cut_into_chunks_that_fit(monkeypatch):
    monkeypatch.setattr(memory, "host_memory", lambda: 2**40)
    whole = kernels_of()
    assert whole.chunk == len(ARCHS)
    monkeypatch.setattr(memory, "host_memory", lambda: int(0.9 * whole.estimate.peak.total / SHARE))
    cut = kernels_of()
    assert cut.chunk < whole.chunk
    assert cut.estimate.share <= SHARE


@pytest.mark.parametrize(
    ("chunk", "message"),
    [(4, r"^chunk: got 4, which takes about .*; give a smaller one"), (None, r"^x: got 6 images")],
)
def test_a_population_that_does_not_fit_is_refused(monkeypatch, chunk, message):
    monkeypatch.setattr(memory, "host_memory", lambda: 1000)
    with pytest.raises(InputError, match=message) as caught:
        kernels_of(chunk)
    assert len(str(caught.value).splitlines()) == 1


def test_a_population_is_refused_before_work_if_the_compiler_says_so(monkeypatch):
    monkeypatch.setattr(kernels, "executable_bytes", lambda executable: 2**60)
    monkeypatch.setattr(memory, "host_memory", lambda: 2**40)
    with pytest.raises(InputError, match=r"^chunk: got 4, kernels of .*; give a smaller one"):
        kernels_of()


def test_a_strategy_that_does_not_fit_once_compiled_is_left_out(monkeypatch):
    needs = iter([2**60, 2**20])
    monkeypatch.setattr(kernels, "executable_bytes", lambda executable: next(needs))
    monkeypatch.setattr(memory, "host_memory", lambda: 2**40)
    found = kernels_of(strategy="auto")
    assert (found.strategy, found.rates) == ("routed", {})
