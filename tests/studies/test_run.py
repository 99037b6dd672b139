"""What a run writes, and what changes when a field of it does."""

import json
import shutil

import numpy as np
import pytest

from jaxntk.cli import main
from jaxntk.metrics import METRICS, Score
from jaxntk.runs.finished import load_run, mean_over_rows
from jaxntk.spaces import nasbench201
from jaxntk.studies.config import ScoreConfig
from jaxntk.studies.job import prepare
from jaxntk.studies.score import score_row
from tests.tiny_runs import (
    NUM_ARCHS,
    accuracies,
    content,
    finish,
    numbers,
    process,
    rows,
    sampled_cells,
    score_values,
)

FILES = {
    "config.json",
    "environment.json",
    "compilation.json",
    "scores.jsonl",
    "truth.jsonl",
    "kernels.npz",
    "summary.json",
    "report.html",
}
SCORE_KEYS = {
    "arch",
    "ops",
    "init_seed",
    "metrics",
    "batch_norm",
    "outputs",
    "parameters",
    "dtype",
    "matmul_precision",
    "num_images",
    "tile",
    "params",
    "flops",
    "convolutions",
    "live_params",
    "seconds",
}
ENTRY = {"higher_is_better", "kendall", "kendall_ci95", "spearman", "raw_kendall", "n", "invalid"}


def test_files(finished):
    assert set(content(finished)) == FILES
    load_run(finished)


def test_config(finished, experiment):
    row = json.loads((finished / "config.json").read_text())
    assert row["experiment"] == "tiny"
    assert row["command"] == f"jaxntk run {experiment} --out {finished}"
    assert row["config"]["num_archs"] == NUM_ARCHS


def test_environment(finished):
    row = json.loads((finished / "environment.json").read_text())
    assert {"jax", "flax", "numpy", "python"} <= set(row["versions"])
    assert row["device"]["count"] >= 1
    assert "git" in row


def test_scores(finished):
    found = rows(finished / "scores.jsonl")
    assert [row["ops"] for row in found] == [nasbench201.format_ops(c) for c in sampled_cells()]
    for row in found:
        assert set(row) == SCORE_KEYS
        assert list(row["metrics"]) == list(METRICS)
        cell = nasbench201.encode(row["arch"])
        assert row["num_images"] == 12
        assert row["tile"] == 12
        size = {"channels": 2, "cells_per_stage": 1, "num_classes": 10, "in_channels": 1}
        assert row["params"] == nasbench201.num_params(cell, **size)
        assert row["flops"] == nasbench201.num_flops(cell, **size, image_size=8)
    assert len({row["metrics"]["trace"]["value"] for row in found}) == NUM_ARCHS


def test_truth(finished):
    found = rows(finished / "truth.jsonl")
    assert len(found) == NUM_ARCHS
    for row in found:
        assert set(row) == {"arch", "ops", "accuracy", "source", "seconds"}
        assert row["source"] == "train:1"
        # 450 test images
        assert row["accuracy"] * 4.5 == pytest.approx(round(row["accuracy"] * 4.5), abs=1e-3)


def test_kernels_are_those_of_the_best_and_the_worst_cell(finished):
    truth = {row["arch"]: row["accuracy"] for row in rows(finished / "truth.jsonl")}
    trace = {r["arch"]: r["metrics"]["trace"]["value"] for r in rows(finished / "scores.jsonl")}
    kernels = load_run(finished).kernels
    assert kernels is not None
    assert kernels.best_accuracy == truth[kernels.best_arch] == max(truth.values())
    assert kernels.worst_accuracy == truth[kernels.worst_arch]
    assert kernels.best_gram.shape == (12, 12)
    assert kernels.labels.shape == (12,)
    assert np.trace(kernels.best_gram) == pytest.approx(trace[kernels.best_arch], rel=1e-6)
    assert np.trace(kernels.worst_gram) == pytest.approx(trace[kernels.worst_arch], rel=1e-6)


def test_summary(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert list(summary["metrics"]) == list(METRICS)
    assert set(summary["baselines"]) == {"params", "flops", "convolutions", "live_params"}
    for entry in (*summary["metrics"].values(), *summary["baselines"].values()):
        assert set(entry) == ENTRY
        assert entry["n"] == NUM_ARCHS
    condition = summary["metrics"]["condition_number"]
    assert condition["kendall"] == -condition["raw_kendall"]
    assert summary["compilations"] == 1
    assert set(summary["seconds"]) == {"total", "compile", "score", "truth"}
    assert all(seconds > 0 for seconds in summary["seconds"].values())
    assert summary["memory"]["peak_rss_bytes"] > 1e7
    accuracy = [row["accuracy"] for row in rows(finished / "truth.jsonl")]
    assert summary["truth"] == {
        "source": "train:1",
        "n": NUM_ARCHS,
        "min": min(accuracy),
        "median": float(np.median(accuracy)),
        "max": max(accuracy),
    }
    assert len(summary["data"]["standardization"]["mean"]) == 1


def test_the_report_is_written_anew(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "report.html").write_text("old")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    page = (folder / "report.html").read_text()
    assert "<svg" in page
    assert "condition_number" in page


def test_truth_from_a_table_explicit_cells_and_the_mean_over_initialisations(
    experiment, table, finished, tmp_path
):
    cells = sampled_cells()[::-1]
    out = tmp_path / "run"
    arguments = ["--num-inits", "2", "--archs", *map(nasbench201.format_ops, cells)]
    truth = ["--truth", "cifar10/test/200", "--table", str(table)]
    assert main(["run", str(experiment), "--out", str(out), *arguments, *truth]) == 0
    found = rows(out / "truth.jsonl")
    assert [row["accuracy"] for row in found] == accuracies(cells)
    assert {row["source"] for row in found} == {"cifar10/test/200"}
    scores = rows(out / "scores.jsonl")
    assert len(scores) == 2 * NUM_ARCHS
    first = {r["ops"]: r["metrics"] for r in scores if r["init_seed"] == 0}
    assert first == {r["ops"]: r["metrics"] for r in rows(finished / "scores.jsonl")}
    second = {r["ops"]: r["metrics"] for r in scores if r["init_seed"] == 1}
    assert all(first[ops]["trace"] != second[ops]["trace"] for ops in first)
    # The summary ranks the means: Kendall tau of untied values, by hand.
    mean = [
        np.mean([draw[nasbench201.format_ops(cell)]["trace"]["value"] for draw in (first, second)])
        for cell in cells
    ]
    pairs = [(i, j) for i in range(NUM_ARCHS) for j in range(i)]
    signs = [
        np.sign((mean[i] - mean[j]) * (found[i]["accuracy"] - found[j]["accuracy"]))
        for i, j in pairs
    ]
    assert 0 not in signs
    summary = json.loads((out / "summary.json").read_text())
    assert summary["metrics"]["trace"]["kendall"] == pytest.approx(np.mean(signs))
    assert summary["compilations"] == 1


def test_a_tile_gives_the_same_scores(experiment, table, finished, tmp_path):
    truth = ["--truth", "cifar10/test/200", "--table", str(table)]
    out = tmp_path / "run"
    assert main(["run", str(experiment), "--out", str(out), "--tile", "5", *truth]) == 0
    expected = score_values(finished)
    found = score_values(out)
    assert list(found) == list(expected)
    for key, value in expected.items():
        # What is left of alignments near zero is a difference of sums near one, in float32.
        assert found[key] == pytest.approx(value, rel=1e-5, abs=1e-5), key


@pytest.mark.parametrize("dtype", ["float64", "mixed"])
def test_other_precisions(dtype, experiment, table, finished, tmp_path):
    out = tmp_path / "run"
    flags = ["--dtype", dtype, "--truth", "cifar10/test/200", "--table", table, "--num-archs", 2]
    code, _, err = finish(process(["run", experiment, "--out", out, *flags]))
    assert (code, err) == (0, "")
    assert {row["dtype"] for row in rows(out / "scores.jsonl")} == {dtype}
    with np.load(out / "kernels.npz") as kernels:
        assert kernels["best_gram"].dtype == ("float64" if dtype == "float64" else "float32")
    if dtype == "mixed":
        # The same parameters: rounding is all that differs.
        expected = {
            key: value for key, value in score_values(finished).items() if key[1] == "trace"
        }
        for key, value in score_values(out).items():
            if key in expected:
                assert value == pytest.approx(expected[key], rel=1e-3), key


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_score_prints_every_metric_in_the_exact_modes(batch_norm, capsys):
    size = ["--num-images", "8", "--channels", "2", "--cells-per-stage", "1"]
    flags = ["--data", "digits", "--batch-norm", batch_norm, "--archs", "421211", "000000"]
    assert main(["score", *flags, *size]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 80
    for name in METRICS:
        assert out.count(f"{name} ") == 1
    for cell, statuses in (("421211", 0), ("000000", len(METRICS))):
        lines = [line for line in out.splitlines() if line.startswith(f"│ {cell}")]
        values = [value for line in lines for value in line.strip("│").split("│")[1:]]
        assert len(values) == len(METRICS) + 1
        assert all(value.strip() for value in values)
        assert sum("zero_kernel" in value for value in values) == statuses


def test_one_invalid_initialisation_makes_the_cell_invalid():
    ok, failed = Score.of(1.0).to_json(), {"value": None, "status": "nonfinite"}
    cell = [{"metrics": {"lga": score}} for score in (ok, failed)]
    assert not mean_over_rows(cell, "lga").valid
    assert mean_over_rows(cell[:1], "lga").value == 1.0


def test_numbers_are_compared_whole(finished):
    """Guards the other tests: a comparison of two runs looks at every score and accuracy."""
    found = numbers(finished)
    assert len(found["scores"]) == len(found["accuracies"]) == NUM_ARCHS


def test_a_cell_without_a_path_has_a_zero_kernel_and_no_score():
    config = ScoreConfig(
        data="digits",
        batch_norm="frozen",
        archs=("030030", "421211"),
        num_images=12,
        channels=2,
        cells_per_stage=1,
    )
    job = prepare(config)
    kernels = job.kernels(lambda line: None)
    row = score_row(job, kernels, job.archs[0], 0)
    assert {score["status"] for score in row["metrics"].values()} == {"zero_kernel"}
    assert not kernels(job.archs[0]).any()
    row = score_row(job, kernels, job.archs[1], 0)
    assert row["metrics"]["lga"]["status"] == "ok"
