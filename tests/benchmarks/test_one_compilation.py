"""The two sides of the benchmark compute the same, and what it writes is whole; no timing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import one_compilation, one_compilation_sides
from benchmarks.naive_kernel import naive_kernel, used_paths
from benchmarks.one_compilation import KernelsDifferError, Options, command, summarize
from benchmarks.one_compilation_sides import make_network, relative_error
from jaxntk.networks.nasbench201 import init_variables

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="only Linux confines a process to some cores"
)

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = {"cells": 2, "channels": 2, "cells_per_stage": 1, "num_images": 3, "image_size": 8}
FLAGS = [str(part) for name, value in TINY.items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def params():
    shape = (8, 8, 3)
    dtype = np.dtype("float32")
    network = make_network(Options(**TINY))
    return init_variables(network, jax.random.key(0), shape, dtype)["params"]


def row(ops="333333", fast=1.0, naive=4.0, compiling=6.0, error=0.0):
    return {
        "ops": ops,
        "fast_seconds": fast,
        "naive_seconds": naive,
        "naive_compile_seconds": compiling,
        "relative_error": error,
    }


@pytest.mark.slow
def test_the_script_finds_equal_kernels_and_writes_whole_files(tmp_path):
    out = tmp_path / "new" / "result.json"
    program = [sys.executable, "-m", "benchmarks.one_compilation", "--cores", "1"]
    done = subprocess.run(
        [*program, *FLAGS, "--dtype", "float64", "--out", str(out)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text(encoding="utf-8"))
    assert len(record["cells"]) == 2
    assert record["summary"]["largest_relative_error"] <= 1e-9
    for side in ("fast", "naive"):
        memory = record["memory"][side]
        assert 0 < memory["executable_bytes"] < memory["peak_rss_bytes"]
        assert memory["peak_rss_before_bytes"] <= memory["peak_rss_bytes"]
    assert record["machine"]["cores_used"] == 1
    assert str(tmp_path) not in json.dumps(record)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arch", "convolutions"),
    [
        ((3, 3, 3, 3, 3, 3), {f"edge_{edge}/conv_3x3" for edge in
                              ("1_from_0", "2_from_0", "2_from_1", "3_from_0", "3_from_1",
                               "3_from_2")}),
        ((2, 0, 3, 1, 0, 4), {"edge_1_from_0/conv_1x1", "edge_2_from_1/conv_3x3"}),
        ((2, 0, 3, 3, 0, 0), {"edge_3_from_0/conv_3x3"}),
        ((1, 4, 1, 1, 4, 1), set()),
    ],
)  # fmt: skip
def test_only_parameters_that_reach_the_output_are_differentiated(params, arch, convolutions):
    used = used_paths(params, arch)
    assert {"/".join(path[1:3]) for path in used if path[0] == "stage_2"} == convolutions
    assert ("stem", "kernel") in used
    assert not [path for path in used if path[-1] == "bias" or path[0] == "classifier"]


def test_leaving_unused_parameters_out_changes_nothing(params, monkeypatch):
    arch = (2, 0, 3, 3, 0, 4)
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
    kernel = jax.jit(lambda params, x: naive_kernel(params, x, arch))(params, x)
    assert kernel.shape == (3, 3)
    assert np.linalg.eigvalsh(kernel).min() > -1e-5 * np.abs(kernel).max()
    everything = used_paths(params, (3,) * 6) + used_paths(params, (2,) * 6)
    monkeypatch.setattr("benchmarks.naive_kernel.used_paths", lambda params, arch: everything)
    whole = jax.jit(lambda params, x: naive_kernel(params, x, arch))(params, x)
    np.testing.assert_allclose(whole, kernel, rtol=1e-5)


def test_the_one_compilation_is_shared_by_the_cells():
    summary = summarize(6.0, [row(fast=1.0), row(fast=3.0, naive=8.0, compiling=2.0)])
    assert summary["fast_seconds_a_cell"] == pytest.approx(5.0)
    assert summary["naive_seconds_a_cell"] == pytest.approx(10.0)
    assert summary["ratio"] == pytest.approx(0.5)
    assert summary["ratio_without_compile"] == pytest.approx(2.0 / 6.0)
    assert summary["ratio_ci95"] is None


def test_the_interval_of_the_ratio_holds_it_and_has_no_width_for_equal_cells():
    equal = summarize(0.0, [row()] * 5)
    assert equal["ratio_ci95"] == pytest.approx([0.1, 0.1])
    low, high = summarize(5.0, [row(naive=float(n)) for n in range(5)])["ratio_ci95"]
    assert low < 2.0 / 8.0 < high


@pytest.mark.parametrize(
    ("fast", "naive", "error"),
    [
        ([[2.0, 1.0]], [[4.0, 1.0]], 0.5),
        ([[0.0]], [[0.0]], 0.0),
        ([[1e-9]], [[0.0]], np.inf),
        ([[np.nan]], [[1.0]], np.nan),
    ],
)
def test_the_error_is_relative_to_the_largest_entry(fast, naive, error):
    np.testing.assert_equal(relative_error(np.array(fast), np.array(naive)), error)


@pytest.mark.parametrize("error", [0.06, np.nan, np.inf])
def test_kernels_that_differ_end_the_benchmark(monkeypatch, capsys, tmp_path, error):
    monkeypatch.setattr(one_compilation, "set_up", lambda options: None)
    monkeypatch.setattr(one_compilation, "measure_memory", lambda options, side: {})
    monkeypatch.setattr(one_compilation, "compile_fast", lambda options: (FakeKernel(), 1.0))
    monkeypatch.setattr(one_compilation, "time_cell", lambda *_, **__: row(error=error))
    assert one_compilation.main([*FLAGS, "--out", str(tmp_path / "a.json")]) == 1
    assert "333333" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(KernelsDifferError):
        one_compilation.measure_times(Options(**TINY), one_compilation.Console())


class FakeKernel:
    def variables(self, seed):
        return {}


def test_bad_input_is_told_in_one_line(capsys):
    assert one_compilation.main(["--cores", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: cores: got 0;")


def test_the_command_spells_out_what_is_measured_and_no_path():
    line = command(Options(**TINY, out=Path("/elsewhere/a.json")))
    assert line.startswith("python -m benchmarks.one_compilation --cells 2 --seed 0 --channels 2")
    assert "elsewhere" not in line


def test_images_and_cells_are_the_same_for_the_same_seed():
    options = Options(**TINY)
    images = one_compilation_sides.draw_images(options)
    assert images.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(images, one_compilation_sides.draw_images(options))
    cells = one_compilation_sides.draw_cells(options)
    np.testing.assert_array_equal(cells, one_compilation_sides.draw_cells(options))
