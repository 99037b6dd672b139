"""The study of kernel dynamics: rows at the start, sums over layers, and that it goes on."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxntk.kernels.program import compile_kernel
from jaxntk.metrics import METRICS
from jaxntk.runs.rows import read_json, read_rows
from jaxntk.runs.study import run_study
from jaxntk.studies import kernel_dynamics
from jaxntk.studies.kernel_dynamics import (
    KERNEL_DYNAMICS,
    TOTAL,
    layer_kernels,
    prepare,
)
from jaxntk.studies.kernel_dynamics_config import KernelDynamicsConfig
from jaxntk.training.population import Epoch
from tests.shared_programs import shared_programs
from tests.tiny_runs import OVER_EPOCHS_FIELDS

CONFIG = KernelDynamicsConfig(
    **OVER_EPOCHS_FIELDS,
    archs=("000000", "123443"),
    epochs=(0, 1, 3),
)


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    with shared_programs(kernel_dynamics, "_networks", "layer_kernels"):
        yield


def run(out, config=CONFIG):
    console = Console(file=io.StringIO(), width=200)
    return run_study(KERNEL_DYNAMICS, config, out, command="again", console=console)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("kernel_dynamics") / "whole"
    run(out)
    assert (out / kernel_dynamics.FIGURE).read_bytes().startswith(b"\x89PNG")
    return out


def rows_of(out):
    return {(row["ops"], row["epochs"]): row for row in read_rows(out / "scores.jsonl")}


@pytest.mark.slow
def test_nothing_has_moved_at_the_start(whole):
    rows = rows_of(whole)
    assert set(rows) == {(ops, epoch) for ops in CONFIG.archs for epoch in CONFIG.epochs}
    row = rows["123443", 0]
    for layer, scores in row["kernels"].items():
        if scores["cosine"]["status"] == "ok":
            assert scores["cosine"]["value"] == pytest.approx(1.0, abs=1e-12), layer
            assert scores["distance"]["value"] == pytest.approx(0.0, abs=1e-12), layer
            assert scores["relative_change"]["value"] == 0.0, layer
        assert scores["velocity"] is None
    assert row["nonlinear_advantage"] == 0.0
    assert row["network"]["test_accuracy"] == row["linearized"]["test_accuracy"]
    assert row["network"]["loss"] is None


@pytest.mark.slow
def test_kernels_move_and_speed_is_distance_over_time(whole):
    rows = rows_of(whole)
    first, last = (rows["123443", epoch]["kernels"][TOTAL] for epoch in (1, 3))
    assert first["distance"]["value"] > 1e-4
    assert first["velocity"]["value"] == pytest.approx(first["distance"]["value"], rel=1e-9)
    assert 0 < last["velocity"]["value"] < 1
    on_labels = rows["123443", 3]["eigenvectors_on_labels"]
    assert len(on_labels) == 8
    assert 0 <= sum(on_labels) <= 1 + 1e-9


@pytest.mark.slow
def test_a_network_of_constants_says_so(whole):
    for epoch in CONFIG.epochs:
        row = rows_of(whole)["000000", epoch]
        assert row["kernels"][TOTAL]["cosine"]["status"] == "zero_kernel"
        assert row["metrics"]["lga"]["status"] == "zero_kernel"
        assert row["eigenvectors_on_labels"] is None


def test_layers_add_up_to_the_kernel_of_the_network():
    job = prepare(CONFIG).job
    arch = job.archs[1]
    variables = job.model.draw(0, (8, 8, 1), np.dtype("float32"))
    kernels = layer_kernels(job)(variables, arch)
    wanted = compile_kernel(job.model, job.settings, job.batch.x)(arch, 0)
    error = np.abs(kernels[TOTAL] - wanted).max() / np.abs(wanted).max()
    assert error < 1e-5, error
    layers = [name for name in kernels if name != TOTAL]
    assert layers == [
        "stem",
        "stage_1 1",
        "reduction_1",
        "stage_2 1",
        "reduction_2",
        "stage_3 1",
        "norm",
    ]
    summed = sum(kernels[name] for name in layers)
    assert np.allclose(summed, kernels[TOTAL], rtol=1e-12, atol=0)
    assert METRICS["lga"](kernels["stem"], job.batch.y).valid


@pytest.mark.slow
def test_a_cut_run_goes_on_to_the_same_rows(whole, tmp_path):
    out = tmp_path / "cut"
    out.mkdir()
    for name in ("config.json", "environment.json", "scores.jsonl"):
        (out / name).write_bytes((whole / name).read_bytes())
    lines = (whole / "scores.jsonl").read_bytes().splitlines(keepends=True)
    (out / "scores.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:40])
    run(out)
    assert rows_of(out) == rows_of(whole)
    assert (out / kernel_dynamics.FIGURE).exists()


@pytest.mark.slow
def test_the_summary_says_where_each_cell_stood_at_the_end(whole):
    cells = {cell["name"]: cell for cell in read_json(whole / "summary.json")["cells"]}
    assert list(cells) == list(CONFIG.archs)
    row, cell = rows_of(whole)["123443", 3], cells["123443"]
    assert cell["network_test_accuracy"] == row["network"]["test_accuracy"]
    assert cell["cosine_with_start"] == row["kernels"][TOTAL]["cosine"]["value"]
    assert cell["lga_at_start"] == rows_of(whole)["123443", 0]["metrics"]["lga"]["value"]
    assert cell["lga"] == row["metrics"]["lga"]["value"] != cell["lga_at_start"]
    assert cells["000000"]["lga"] is None
    header = (whole / kernel_dynamics.TABLE).read_text().splitlines()[0]
    assert header.split(",") == list(cell)


@pytest.mark.slow
def test_the_cells_are_in_the_record(whole):
    assert read_json(whole / "config.json")["config"]["archs"] == list(CONFIG.archs)


@pytest.mark.parametrize("bad", ["network", "linearized", None])
def test_a_training_that_diverged_has_no_advantage(bad):
    one = jnp.ones(1)
    trained = {
        name: Epoch(loss=one, accuracy=one, finite=jnp.array([name != bad]))
        for name in ("network", "linearized")
    }
    found = {"network": {"test": 0.75 * one}, "linearized": {"test": 0.5 * one}}
    row = kernel_dynamics._learned(trained, found, 0)
    assert row["nonlinear_advantage"] == (25.0 if bad is None else None)


@pytest.mark.slow
def test_ranks_are_judged_in_the_precision_of_the_kernel(whole):
    """In float32 the smallest eigenvalues of a kernel of many equal images are rounding."""
    study = prepare(CONFIG)
    gram = np.ones((8, 8)) + 1e-9 * np.diag(np.arange(8.0))
    seen = kernel_dynamics.Seen({TOTAL: gram}, {TOTAL: gram}, 0)
    row = kernel_dynamics._compared(study, {TOTAL: gram}, seen, 1)
    assert row["metrics"]["condition_number"]["status"] == "rank_deficient"
