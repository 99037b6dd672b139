"""The study over training: its rows against a plain training, and that it survives a kill."""

import csv
import dataclasses
import io
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxntk.data.digits201 import load_digits201
from jaxntk.errors import InputError
from jaxntk.kernels.program import compile_kernel
from jaxntk.metrics import METRICS, Status
from jaxntk.runs.rows import read_json, read_rows
from jaxntk.runs.study import run_study
from jaxntk.spaces import nasbench201
from jaxntk.studies import over_epochs, over_epochs_rows
from jaxntk.studies.config import TRUTH_SEED
from jaxntk.studies.over_epochs import OVER_EPOCHS, prepare
from jaxntk.studies.over_epochs_config import OverEpochsConfig, validate_over_epochs
from jaxntk.training.population import population_training
from tests.shared_programs import shared_programs
from tests.tiny_runs import OVER_EPOCHS_FIELDS

CONFIG = OverEpochsConfig(
    **OVER_EPOCHS_FIELDS,
    archs=("421211", "333333", "000000", "111111", "123404"),
    epochs=(0, 1, 2),
    metrics=("lga", "mean"),
)


def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    with shared_programs(over_epochs_rows, "compile_programs"):
        yield


def run(out, config=CONFIG):
    return run_study(OVER_EPOCHS, config, out, command="again", console=console())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("over_epochs") / "whole"
    run(out)
    return out


def rows_of(out):
    return {
        (row["ops"], row["seed"], row["epochs"], row["batch_norm"]): {
            **row,
            "seconds": 0,
            "train_seconds": 0,
            "test_seconds": 0,
            "metric_seconds": 0,
            "parts": list(row["parts"]),
        }
        for row in read_rows(out / "scores.jsonl")
    }


def test_rows_say_how_they_were_trained(whole):
    rows = rows_of(whole)
    assert len(rows) == 5 * 3
    for (_, seed, epochs, mode), row in rows.items():
        assert (seed, mode) == (0, "frozen")
        assert row["steps"] == 2 * epochs
        assert row["images_seen"] == 400 * epochs
        assert row["finite"]
        assert row["tile"] == CONFIG.num_images
        assert (row["loss"] is None) == (epochs == 0)
        assert 0 <= row["valid_accuracy"] <= 100
    sums = [rows["421211", 0, epoch, "frozen"] for epoch in (1, 2)]
    assert sums[1]["loss_sum"] == pytest.approx(sums[0]["loss_sum"] + sums[1]["loss"])
    assert not (whole / over_epochs_rows.CHECKPOINTS).exists()


def test_seconds_are_those_of_the_training_so_far(whole):
    rows = {
        row["epochs"]: row for row in read_rows(whole / "scores.jsonl") if row["ops"] == "421211"
    }
    assert rows[0]["train_seconds"] == 0
    assert 0 < rows[1]["train_seconds"] < rows[2]["train_seconds"]
    assert rows[1]["seconds"] > 0
    assert rows[1]["test_seconds"] > 0


@pytest.mark.slow
def test_two_seeds_and_two_modes_are_kept_apart(tmp_path):
    config = dataclasses.replace(
        CONFIG, num_seeds=2, batch_norms=("running", "frozen"), epochs=(1,), archs=CONFIG.archs[:2]
    )
    run(tmp_path, config)
    rows = rows_of(tmp_path)
    assert set(rows) == {
        (ops, seed, 1, mode)
        for ops in config.archs
        for seed in (0, 1)
        for mode in ("running", "frozen")
    }
    study = prepare(config)
    training = population_training(
        study.job.model, config.training, 2, (8, 8, 1), jnp.dtype("float32")
    )
    states = training.init([0, 1])
    archs = jnp.asarray(np.repeat(study.job.archs[:1], 2, axis=0), jnp.int32)
    states, _ = training.epoch(states, archs, study.x_train, study.y_train)
    for mode, job in study.jobs.items():
        kernel = compile_kernel(job.model, job.settings, job.batch.x)
        for seed in (0, 1):
            variables = jax.tree.map(lambda leaf, seed=seed: leaf[seed], states.variables)
            wanted = METRICS["lga"](kernel.of(variables, job.archs[0]), job.batch.y).value
            found = rows["421211", seed, 1, mode]["metrics"]["lga"]["value"]
            assert found == pytest.approx(wanted, rel=1e-4), (mode, seed)


def test_metrics_are_those_of_a_network_trained_by_hand(whole):
    study, rows = prepare(CONFIG), rows_of(whole)
    job, archs = study.job, jnp.asarray(study.job.archs[:1], jnp.int32)
    training = population_training(job.model, CONFIG.training, 4, (8, 8, 1), jnp.dtype("float32"))
    states = training.init([0])
    kernel = compile_kernel(job.model, job.settings, job.batch.x)
    for epoch in range(3):
        variables = jax.tree.map(lambda leaf: leaf[0], states.variables)
        gram = kernel.of(variables, job.archs[0])
        row = rows["421211", 0, epoch, "frozen"]
        for name in CONFIG.metrics:
            wanted = METRICS[name](gram, job.batch.y).value
            assert row["metrics"][name]["value"] == pytest.approx(wanted, rel=1e-4), (epoch, name)
        states, found = training.epoch(states, archs, study.x_train, study.y_train)
        if epoch < 2:
            after = rows["421211", 0, epoch + 1, "frozen"]
            assert after["loss"] == pytest.approx(float(found.loss[0]), rel=1e-5)


class Killed(Exception):
    pass


def run_killed(out, monkeypatch, saves):
    """Runs until so many checkpoints were written."""
    left = [saves]
    save = over_epochs_rows.save

    def counted(*arguments):
        save(*arguments)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(over_epochs_rows, "save", counted)
        with pytest.raises(Killed):
            run(out)


@pytest.mark.parametrize(("saves", "torn"), [(1, True), (3, False)])
def test_a_killed_run_goes_on_to_the_same_rows(whole, tmp_path, monkeypatch, saves, torn):
    """Killed after some checkpoints were written; the last row of the file may be torn."""
    run_killed(tmp_path, monkeypatch, saves)
    path = tmp_path / "scores.jsonl"
    if torn:
        path.write_bytes(path.read_bytes()[:-30])
    done = len(rows_of(tmp_path))
    assert 0 < done < 15
    run(tmp_path)
    assert rows_of(tmp_path) == rows_of(whole)
    one, other = (read_json(out / "summary.json")["entries"] for out in (tmp_path, whole))
    assert one == other


def test_a_checkpoint_of_another_training_is_refused(tmp_path, monkeypatch):
    run_killed(tmp_path, monkeypatch, 1)
    other = dataclasses.replace(CONFIG, learning_rate=0.5)
    with pytest.raises(InputError, match="learning_rate"):
        run(tmp_path, other)
    # The rows and the configuration are gone, the checkpoint is not.
    (tmp_path / "scores.jsonl").unlink()
    with pytest.raises(InputError, match="checkpoint"):
        run(tmp_path, other)


def test_a_diverged_cell_ranks_last(tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e30, epochs=(0, 2))
    summary = run(tmp_path, config)
    bad = {row["ops"] for row in rows_of(tmp_path).values() if not row["finite"]}
    assert summary["diverged"] == len(bad) > 0
    for row in rows_of(tmp_path).values():
        if not row["finite"]:
            statuses = {score["status"] for score in row["metrics"].values()}
            assert statuses == {Status.NONFINITE}
    (entry,) = (
        entry for entry in summary["entries"] if (entry["score"], entry["epochs"]) == ("lga", 2)
    )
    assert entry["invalid"] >= summary["diverged"]


def test_summary_table_and_figure(whole):
    summary = read_json(whole / "summary.json")
    cells = np.stack([nasbench201.parse_ops(ops) for ops in CONFIG.archs])
    truth = load_digits201().accuracy(cells, "test")
    assert summary["truth"]["max"] == pytest.approx(truth.max())
    assert summary["steps_an_epoch"] == 2
    assert summary["num_functions"] == 5
    assert summary["kernel_images_in_truth"]
    assert summary["seconds_a_cell"]["training"] > 0
    with (whole / over_epochs.TABLE).open() as lines:
        table = list(csv.DictReader(lines))
    assert len(table) == len(summary["entries"])
    for line, entry in zip(table, summary["entries"], strict=True):
        assert line["score"] == entry["score"]
        assert float(line["kendall"]) == pytest.approx(entry["kendall"], abs=1e-4)
    assert (whole / over_epochs.FIGURE).read_bytes().startswith(b"\x89PNG")
    assert json.dumps(summary["verdict"])
    assert len(summary["verdict"]) == 3


def test_a_finished_run_computes_nothing(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "copy")
    monkeypatch.setattr(over_epochs_rows, "population_training", None)
    told = console()
    summary = run_study(OVER_EPOCHS, CONFIG, tmp_path / "copy", command="again", console=told)
    assert summary["entries"] == read_json(whole / "summary.json")["entries"]
    assert told.file.getvalue().startswith("complete already: nothing is computed")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("archs", ("421211",)),
        ("truth", "digits201/tset"),
        ("truth", "train"),
        ("recipe", "sgd"),
        ("strategy", "pmap"),
        ("batch_norms", ()),
        ("batch_norms", ("frozen", "frozen")),
        ("batch_norms", ("stored",)),
        ("epochs", ()),
        ("epochs", (1, 1)),
        ("epochs", (-1,)),
        ("chunk", 0),
        ("num_seeds", 0),
        ("seed", -1),
        ("seed", TRUTH_SEED),
        ("dtype", "mixed"),
        ("schedule_epochs", 1),
        ("batch_size", 0),
        ("augmentation", "flip"),
        ("train_images", 1),
        ("image_size", 2),
        ("num_images", 1),
    ],
)
def test_bad_fields_are_named(field, value):
    with pytest.raises(InputError, match=field):
        validate_over_epochs(dataclasses.replace(CONFIG, **{field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch_size", 500), ("train_images", 5000), ("image_size", 5), ("validation_images", 5)],
)
def test_what_the_data_do_not_give_is_named(field, value, tmp_path):
    with pytest.raises(InputError, match=field):
        run(tmp_path / "out", dataclasses.replace(CONFIG, **{field: value}))
    assert not (tmp_path / "out").exists()
