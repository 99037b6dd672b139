"""Training one architecture to the end: own size, what is kept, and that it goes on."""

import dataclasses
import io
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxntk.data.digits_vit import SPACE, architectures, load_digits_vit
from jaxntk.data.truths import other_sizes
from jaxntk.errors import InputError
from jaxntk.networks.registry import FAMILIES
from jaxntk.runs.rows import read_json, read_rows
from jaxntk.runs.study import run_study
from jaxntk.spaces import autoformer, nasbench201, pit
from jaxntk.spaces.registry import SPACES
from jaxntk.studies import retrain
from jaxntk.studies.retrain import RETRAIN, load_trained, prepare
from jaxntk.studies.retrain_config import RetrainConfig, validate_retrain
from tests.shared_programs import shared_programs

CELL = RetrainConfig(
    arch="421211",
    data="digits201",
    epochs=3,
    channels=2,
    cells_per_stage=1,
    train_images=400,
    batch_size=200,
    augmentation="crop",
    pad=1,
    truth="digits201/test",
)
SMALLEST = np.zeros(len(autoformer.VITBENCH101.sizes), np.int32)
VIT = dataclasses.replace(
    CELL,
    channels=None,
    cells_per_stage=None,
    patch_size=4,
    space="autoformer-vitbench101",
    arch=autoformer.to_string(SMALLEST, autoformer.VITBENCH101),
    epochs=1,
    truth=None,
)


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    with shared_programs(retrain, "make_programs"):
        yield


def run(out, config, shown=None):
    console = Console(file=shown or io.StringIO(), width=200)
    return run_study(RETRAIN, config, out, command="again", console=console)


def rows_of(out):
    return [row | {"seconds": None} for row in read_rows(out / "scores.jsonl")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("retrain") / "whole"
    return out, run(out, CELL)


def test_an_epoch_has_a_row_and_the_best_is_that_of_validation(whole):
    out, summary = whole
    rows = read_rows(out / "scores.jsonl")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(0 < row["test_accuracy"] < 100 for row in rows)
    assert summary["last"] == rows[-1]
    best = max(rows, key=lambda row: row["valid_accuracy"])
    assert summary["best"] == best
    assert summary["best_by"] == "validation accuracy"
    sizes = {"channels": 2, "cells_per_stage": 1, "num_classes": 10, "in_channels": 1}
    assert summary["params"] == nasbench201.num_params(nasbench201.read("421211"), **sizes)
    assert 50 < summary["table"]["accuracy"] < 100
    other = "networks with --channels 8 --cells-per-stage 1"
    assert summary["table"]["other_network"] == other
    assert retrain.report({}, summary).shown[-1].endswith(f"(digits201/test; of {other})")
    for name in ("training.png", "training.csv", "summary.json"):
        assert (out / name).stat().st_size > 0


@pytest.mark.parametrize("which", ["last", "best"])
def test_what_is_kept_reads_what_its_row_says(whole, which):
    """Loaded, the network classifies as many test images right as the row of its epoch has it."""
    out, summary = whole
    model, variables, arch = load_trained(str(out), which=which)
    data = prepare(CELL).dataset
    predicted = np.argmax(model.logits(variables, jnp.asarray(data.x_test), arch), axis=1)
    wanted = summary[which]["test_accuracy"]
    assert 100 * np.mean(predicted == data.y_test) == pytest.approx(wanted, abs=0.11)
    alone = model.logits(variables, jnp.asarray(data.x_test[:3]), arch)
    assert np.argmax(alone, axis=1).tolist() == predicted[:3].tolist()


@pytest.mark.parametrize(
    ("killed_at", "time"),
    [("row", 1), ("row", 2), ("row", 3), ("best", 1), ("last", 1), ("last", 2), ("last", 3)],
)
def test_a_killed_training_goes_on_to_the_same_numbers(
    whole, tmp_path, monkeypatch, killed_at, time
):
    """Killed after a row, after the best state and after the last one, of any epoch."""
    out, summary = whole

    class Killed(Exception):
        pass

    cut, calls = tmp_path / "cut", {"row": 0, "best": 0, "last": 0}

    def dying(real, name_of):
        def call(path, *rest):
            real(path, *rest)
            name = name_of(path)
            calls[name] += 1
            if name == killed_at and calls[name] == time:
                raise Killed

        return call

    with monkeypatch.context() as patch:
        patch.setattr(retrain, "append_row", dying(retrain.append_row, lambda path: "row"))
        patch.setattr(retrain, "save", dying(retrain.save, lambda path: path.name))
        with pytest.raises(Killed):
            run(cut, CELL)
    again = run(cut, CELL)
    assert rows_of(cut) == rows_of(out)
    assert again["best"]["epoch"] == summary["best"]["epoch"]
    for which in ("last", "best"):
        states = [load_trained(folder, CELL, which).variables for folder in (out, cut)]
        jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("lost", ["row", "rows", "last", "best"])
def test_what_was_lost_of_a_finished_training_is_made_again(whole, tmp_path, lost):
    out, _ = whole
    cut = tmp_path / "cut"
    shutil.copytree(out, cut)
    if lost in ("last", "best"):
        shutil.rmtree(cut / lost)
    else:
        lines = (cut / "scores.jsonl").read_bytes().splitlines(keepends=True)
        kept = [] if lost == "rows" else [lines[0], lines[2]]
        (cut / "scores.jsonl").write_bytes(b"".join(kept))
    run(cut, CELL)
    assert sorted(rows_of(cut), key=lambda row: row["epoch"]) == rows_of(out)
    for which in ("last", "best"):
        states = [load_trained(folder, CELL, which).variables for folder in (out, cut)]
        jax.tree.map(np.testing.assert_array_equal, *states)


def test_a_finished_training_is_not_trained_again(whole, monkeypatch):
    out, summary = whole
    monkeypatch.setattr(retrain, "make_programs", None)
    shown = io.StringIO()
    assert run(out, CELL, shown)["last"] == summary["last"]
    assert shown.getvalue().startswith("complete already: nothing is computed")


def test_a_training_of_another_configuration_is_refused(whole):
    out, _ = whole
    with pytest.raises(InputError, match="seed=0 where 1 is asked"):
        run(out, dataclasses.replace(CELL, seed=1))


def test_a_transformer_is_trained_at_its_own_width_and_depth(tmp_path):
    config = dataclasses.replace(VIT, train_images=64, batch_size=32, image_size=8)
    shown = io.StringIO()
    summary = run(tmp_path / "run", config, shown)
    assert shown.getvalue().startswith("compiling the training, once for all epochs ...\n")
    assert "complete already" not in shown.getvalue()
    assert summary["finite"]
    assert read_json(tmp_path / "run" / "summary.json")["best"]["epoch"] == 1
    sizes = autoformer.decode(SMALLEST, autoformer.VITBENCH101)
    model, variables, _ = load_trained(tmp_path / "run", config)
    assert model.network.space.embed_dims == (sizes.embed_dim,)
    assert model.network.space.depths == (sizes.depth,)
    # All blocks of the smallest are alike, so that nothing is held that is not used.
    held = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert summary["params"] == held


def test_the_parameters_of_mixed_blocks_are_its_own():
    """The network holds as much for every block as for the largest; that is not what counts."""
    space = autoformer.VITBENCH101
    mixed = SMALLEST.copy()
    mixed[-1] = 1
    config = dataclasses.replace(VIT, arch=autoformer.to_string(mixed, space))
    sizes = {"image_size": 8, "patch_size": 4, "in_channels": 1, "num_classes": 10}
    counted = autoformer.population_costs(autoformer.canonical(mixed[None], space), space, **sizes)
    assert retrain._params(config, prepare(config).dataset) == counted.params[0]


def test_a_pit_of_its_own_size_has_its_own_widths():
    text = "16:1x2,4x2,2x2:2"
    config = dataclasses.replace(VIT, space="pit", arch=text, patch_size=2)
    study = prepare(config)
    sizes = pit.decode(pit.from_string(text))
    assert study.model.network.shape.widths == sizes.widths
    assert (study.model.network.patch_size, study.model.network.stride) == (2, 1)
    counted = pit.population_costs(
        pit.from_string(text)[None], image_size=8, patch_size=2, in_channels=1, num_classes=10
    )
    assert retrain._params(config, study.dataset) == counted.params[0]


def test_a_small_transformer_stands_beside_its_table():
    """In the table's own patches, and by the encoding of the space, not of the network's own."""
    table, arch = load_digits_vit(), architectures()[300]
    text = autoformer.to_string(arch, SPACE)
    config = dataclasses.replace(
        VIT,
        space="digits-vit",
        arch=text,
        data="digits",
        truth="digits_vit/test",
        epochs=1,
        patch_size=None,
    )
    study = prepare(config)
    assert study.model.network.patch_size == 2
    assert study.table_accuracy == table.accuracy(arch[None], "test")[0]
    for changes, words in [
        ({"patch_size": 4}, "truth: got digits_vit/test for other networks or images"),
        ({"image_size": 4}, "truth: got digits_vit/test for other networks or images"),
        ({"data": "digits201"}, "truth: got digits_vit/test for other networks or images"),
        ({"truth": "digits201/test"}, "truth: got 'digits201/test'"),
        ({"space": VIT.space, "arch": VIT.arch}, "no table holds networks of autoformer"),
    ]:
        with pytest.raises(InputError, match=words):
            validate_retrain(dataclasses.replace(config, **changes))


def _other(config):
    space = SPACES[config.space]
    return None if config.truth is None else other_sizes(config.truth, space, config.sizes)


def test_without_validation_images_the_best_is_the_last():
    rows = {
        (epoch,): {"epoch": epoch, "valid_accuracy": None, "finite": epoch < 3}
        for epoch in (1, 2, 3)
    }
    assert max(rows.values(), key=retrain._rank)["epoch"] == 2


@pytest.mark.parametrize(
    ("truth", "channels", "cells_per_stage", "other"),
    [
        ("digits201/test", 8, 1, None),
        ("digits201/valid", 8, 2, "networks with --channels 8 --cells-per-stage 1"),
        ("cifar10/test/200", 16, 5, None),
        ("cifar10/test/200", 8, 1, "networks with --channels 16 --cells-per-stage 5"),
        (None, 2, 1, None),
    ],
)
def test_a_table_of_networks_of_another_size_is_named(truth, channels, cells_per_stage, other):
    sizes = {"channels": channels, "cells_per_stage": cells_per_stage}
    assert _other(dataclasses.replace(CELL, truth=truth, **sizes)) == other


def test_the_network_of_a_cell_is_the_benchmarks(whole):
    family = FAMILIES["nasbench201"]
    model, arch = family.alone(nasbench201.read("421211"), 10, CELL.sizes)
    network = model.network
    assert (network.num_classes, network.channels, network.cells_per_stage) == (10, 2, 1)
    np.testing.assert_array_equal(arch, nasbench201.read("421211"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": "darts"}, "space: got 'darts'"),
        ({"arch": "42121"}, "got"),
        ({"space": "pit", "truth": None}, "got"),
        ({"epochs": 0}, "epochs: got 0"),
        ({"recipe": "adam"}, "recipe: got 'adam'"),
        ({"augmentation": "mixup"}, "augmentation: got 'mixup'"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"dtype": "bfloat16"}, "dtype: got 'bfloat16'"),
        ({"truth": "cifar10/dev/200"}, "truth"),
        ({"seed": -1}, "seed: got -1"),
        ({"train_images": 1}, "train_images: got 1"),
        ({"patch_size": 2}, "patch_size: got 2; leave it out"),
        ({"space": "pit", "arch": "16:1x2,4x2,2x2:2", "truth": None}, "channels: got 2"),
    ],
)
def test_bad_configurations_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        validate_retrain(dataclasses.replace(CELL, **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 500}, "batch_size: got 500"),
        ({"dtype": "float64"}, "jax_enable_x64"),
        ({"validation_images": 5}, "validation_images: got 5"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        prepare(dataclasses.replace(CELL, **changes))


def test_images_that_stages_do_not_fit_are_refused(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (6, 6, 6, 1), np.uint8)
    arrays = {f"x_{s}": x for s in ("train", "test")}
    arrays |= {f"y_{s}": np.arange(6) % 2 for s in ("train", "test")}
    np.savez(tmp_path / "small.npz", **arrays)
    data = f"npz:{tmp_path / 'small.npz'}"
    with pytest.raises(InputError, match="data: got"):
        prepare(dataclasses.replace(CELL, data=data, train_images=None, batch_size=2))


def test_patches_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="give square images of a multiple of 3 pixels"):
        prepare(dataclasses.replace(VIT, patch_size=3))
