"""The benchmark of the memory estimate measures what it says, and what it writes is whole."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from benchmarks import memory_estimate
from benchmarks.memory_estimate import measurements, summarize
from benchmarks.memory_estimate_cases import CASES, CLEAR_REFS, Settings, make, measure

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = {"channels": 2, "cells_per_stage": 1, "image_size": 8, "mlp_width": 4, "vit_width": 8}

pytestmark = pytest.mark.skipif(
    not CLEAR_REFS.exists(), reason="only Linux lets a process reset its peak"
)


def test_the_estimate_is_near_the_peak_of_a_real_process(tmp_path):
    out = tmp_path / "new" / "result.json"
    program = [sys.executable, "-m", "benchmarks.memory_estimate", "--cores", "1"]
    options = ["--cases", "mlp_jacobian", "--images", "24", "--large-images", "0"]
    done = subprocess.run(
        [*program, *options, "--out", str(out)], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text(encoding="utf-8"))
    (row,) = record["rows"]
    assert (row["case"], row["images"], row["tile"]) == ("mlp_jacobian", 24, None)
    assert abs(row["estimate_over_measured"] - 1) <= 0.3, row
    assert row["measured_bytes"] < row["process_bytes"] < 2**33
    assert record["summary"]["further_off_than_30_percent"] == []
    assert record["machine"]["cores_used"] == 1
    assert str(tmp_path) not in json.dumps(record)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("case", "tile"),
    [
        pytest.param(case, tile, marks=pytest.mark.slow if "nasbench" in case else ())
        for case in CASES
        for tile in (None, 2)
    ],
)
def test_every_function_gives_a_kernel(case, tile):
    function, shapes = make(case, Settings(**TINY), 3, tile)
    assert jax.eval_shape(function, *shapes).shape == (3, 3)


def test_one_measurement_is_whole():
    row = measure("mlp_gram", Settings(**TINY), 3, None)
    parts = ("arguments", "outputs", "temporaries")
    assert row["estimate_bytes"] == sum(row["estimate"][part] for part in parts)
    assert row["estimate"]["outputs"] == 3 * 3 * 4
    assert 0 < row["compiler_bytes"] <= row["measured_bytes"] + 2**20
    assert row["measured_bytes"] < row["process_bytes"]


def test_large_batches_are_measured_with_and_without_tiles():
    listed = list(measurements(Settings(images=(4, 8), cases=("vit_gram",), large_images=32)))
    assert listed == [
        ("vit_gram", 4, None),
        ("vit_gram", 8, None),
        ("nasbench201_gram", 32, None),
        ("nasbench201_gram", 32, 256),
    ]
    assert not list(measurements(Settings(images=(), large_images=0)))


def test_what_is_further_off_than_claimed_is_named():
    rows = [
        {"case": case, "images": 4, "estimate_over_measured": ratio, "process_bytes": process}
        for case, ratio, process in (("a", 0.71, 1), ("b", 1.31, 2**33), ("c", 0.5, 2))
    ]
    summary = summarize(rows)["summary"]
    assert summary["ratio_range"] == [0.5, 1.31]
    assert summary["further_off_than_30_percent"] == ["b 4", "c 4"]
    assert (summary["largest_process_bytes"], summary["under_8_gib"]) == (2**33, False)


def test_bad_input_and_processes_that_fail_are_told_in_one_line(capsys, monkeypatch):
    assert memory_estimate.main(["--cores", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: cores: got 0;")
    monkeypatch.setattr(memory_estimate.sys, "executable", "false")
    monkeypatch.setattr(memory_estimate, "set_up", lambda cores: None)
    assert memory_estimate.main(["--cases", "mlp_gram", "--images", "4"]) == 2
    assert "exit code 1 of the process that measures mlp_gram" in capsys.readouterr().err
