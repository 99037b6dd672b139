"""Searches guided by scores: what is scored, that they go on, and what they choose."""

import dataclasses
import io
import json

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from jaxntk.data.digits201 import load_digits201
from jaxntk.errors import InputError
from jaxntk.runs import row_store
from jaxntk.runs.config import LOCATIONS
from jaxntk.runs.rows import read_json, read_rows
from jaxntk.spaces import nasbench201
from jaxntk.studies.search import scores as search_scores
from jaxntk.studies.search.config import SearchConfig, validate_search
from jaxntk.studies.search.options import SearchOptions
from jaxntk.studies.search.run import run_search
from jaxntk.studies.search.scores import ArchScores, settings_of_rows
from tests.shared_programs import shared_programs
from tests.tiny_runs import OVER_EPOCHS_FIELDS

TABLE = SearchConfig(
    **OVER_EPOCHS_FIELDS, goals=("table:digits201/valid",), evaluations=30, searches=3
)
KERNEL = dataclasses.replace(
    TABLE, goals=("lga@0", "loss_sum@1"), evaluations=4, searches=2, reference=3, population=3
)


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    with shared_programs(search_scores, "compile_programs"):
        yield


def run(out, config):
    return run_search(config, out, command="again", console=Console(file=io.StringIO()))


def history(out):
    with np.load(out / "history.npz") as file:
        return {name: file[name] for name in ("archs", "scores")}


def accuracy(split, archs):
    return load_digits201().accuracy(archs.reshape(-1, 6), split).reshape(archs.shape[:-1])


@pytest.mark.parametrize("algorithm", ["random", "evolution", "genetic"])
def test_a_search_by_a_table_chooses_the_best_it_saw(tmp_path, algorithm):
    config = dataclasses.replace(TABLE, algorithm=algorithm)
    summary = run(tmp_path / "run", config)
    found = history(tmp_path / "run")
    assert found["archs"].shape == (3, 30, 6)
    np.testing.assert_allclose(found["scores"], accuracy("valid", found["archs"]))
    for archs, scores, entry in zip(*found.values(), summary["searches"], strict=True):
        best = archs[np.argmax(scores)]
        assert entry["ops"] == nasbench201.format_ops(best)
        assert entry["accuracy"] == accuracy("test", best[None])[0]
        assert entry["seconds"] == 0
    assert summary["mean"] == pytest.approx(np.mean([e["accuracy"] for e in summary["searches"]]))
    for picture in ("search.png", "best.png"):
        assert (tmp_path / "run" / picture).read_bytes().startswith(b"\x89PNG")
    everything = accuracy("test", nasbench201.enumerate_space())
    assert summary["levels"]["random"] == pytest.approx(everything.mean())


def test_finalists_are_chosen_by_another_truth(tmp_path):
    config = dataclasses.replace(TABLE, goals=("params",), select="digits201/valid", finalists=4)
    summary = run(tmp_path / "run", config)
    found = history(tmp_path / "run")
    for archs, scores, entry in zip(*found.values(), summary["searches"], strict=True):
        best = {}
        for at in np.argsort(-scores, kind="stable"):
            best.setdefault(nasbench201.tied_function_form(archs[at]), archs[at])
        few = np.stack(list(best.values())[:4])
        wanted = few[np.argmax(accuracy("valid", few))]
        assert entry["ops"] == nasbench201.format_ops(wanted)


def test_limits_hold_for_every_cell(tmp_path):
    most = 20_000
    config = dataclasses.replace(TABLE, goals=("params",), max_params=most)
    run(tmp_path / "run", config)
    summary = read_json(tmp_path / "run" / "summary.json")
    assert all(entry["regret"] >= 0 for entry in summary["searches"])
    archs = history(tmp_path / "run")["archs"].reshape(-1, 6)
    sizes = {"channels": 2, "cells_per_stage": 1, "num_classes": 10, "in_channels": 1}
    counts = [nasbench201.num_params(arch, **sizes) for arch in archs]
    assert max(counts) <= most
    everything = nasbench201.enumerate_space()
    costs = nasbench201.population_costs(everything, **sizes, image_size=8)
    small = accuracy("test", everything[costs.params <= most])
    assert summary["levels"]["best_there_is"] == small.max()
    assert summary["levels"]["random"] == pytest.approx(small.mean())
    with pytest.raises(InputError, match="max_params: got 1; give at least"):
        run(tmp_path / "none", dataclasses.replace(config, max_params=1))
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search by kernels that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("cell_search") / "whole"
    return out, run(out, KERNEL)


def test_each_function_is_scored_once(whole):
    out, summary = whole
    rows = read_rows(out / "scores.jsonl")
    forms = [
        (nasbench201.tied_function_form(nasbench201.parse_ops(row["ops"])), row["epochs"])
        for row in rows
    ]
    assert len(forms) == len(set(forms)) == 2 * summary["architectures_scored"]
    archs = history(out)["archs"]
    asked = {nasbench201.tied_function_form(arch) for arch in archs.reshape(-1, 6)}
    assert asked <= {form for form, _ in forms}
    for entry, searched in zip(summary["searches"], archs, strict=True):
        assert entry["distinct"] == len({nasbench201.tied_function_form(a) for a in searched})
        assert entry["seconds"] > 0


def test_two_goals_are_ranks_among_random_cells(whole):
    out, _ = whole
    rows = read_rows(out / "scores.jsonl")
    lga, loss = {}, {}
    for row in rows:
        form = nasbench201.tied_function_form(nasbench201.parse_ops(row["ops"]))
        if row["epochs"] == 0:
            lga[form] = row["metrics"]["lga"]["value"]
        else:
            loss[form] = -row["loss_sum"]
    known = list(
        dict.fromkeys(
            nasbench201.tied_function_form(nasbench201.parse_ops(row["ops"])) for row in rows
        )
    )[:3]
    found = history(out)
    arch, score = found["archs"][0, 0], found["scores"][0, 0]
    form = nasbench201.tied_function_form(arch)
    wanted = np.mean([
        scipy.stats.percentileofscore([each[k] for k in known], each[form], kind="mean")
        for each in (lga, loss)
    ])
    assert score == pytest.approx(wanted)


def test_a_killed_search_goes_on_to_the_same_history(whole, tmp_path, monkeypatch):
    """Killed after its first row, and then twice in the middle."""
    out, summary = whole
    wanted = history(out)
    kills = 0

    class Killed(Exception):
        pass

    real, cut = row_store.append_row, tmp_path / "cut"

    written = 0

    def dies_later(path, row):
        nonlocal written
        real(path, row)
        written += 1
        if written in (1, 4, 9):
            raise Killed

    monkeypatch.setattr(row_store, "append_row", dies_later)
    for _ in range(4):
        try:
            again = run(cut, KERNEL)
            break
        except Killed:
            kills += 1
    assert kills == 3
    assert len(read_rows(cut / "scores.jsonl")) == len(read_rows(out / "scores.jsonl"))
    for name, value in history(cut).items():
        np.testing.assert_array_equal(value, wanted[name])
    assert [e["ops"] for e in again["searches"]] == [e["ops"] for e in summary["searches"]]


def test_scores_are_those_of_the_study_over_epochs(whole, tmp_path):
    out, _ = whole
    scores = ArchScores(KERNEL, tmp_path, Console(file=io.StringIO()))
    arch = history(out)["archs"][0, :1]
    values = scores(arch)
    form = nasbench201.tied_function_form(arch[0])
    rows = [row for row in read_rows(tmp_path / "scores.jsonl")]
    assert values[0, 0] == pytest.approx(rows[0]["metrics"]["lga"]["value"])
    assert values[0, 1] == pytest.approx(-rows[1]["loss_sum"])
    assert [row["epochs"] for row in rows] == [0, 1]
    # Whoever asks: the first cell of the space with this function.
    assert {row["ops"] for row in rows} == {
        nasbench201.format_ops(nasbench201.tied_representative(form))
    }


def test_a_second_run_scores_nothing_that_a_first_one_has_scored(whole, tmp_path, monkeypatch):
    out, summary = whole
    config = dataclasses.replace(KERNEL, score_cache=str(tmp_path / "cache"))
    first = run(tmp_path / "first", config)
    monkeypatch.setattr(search_scores, "compile_programs", None)
    # Another truth, and one of its goals, ask for nothing else.
    other = dataclasses.replace(config, evaluations=3, truth="digits201/valid")
    second = run(tmp_path / "second", other)
    assert first["architectures_from_cache"] == 0
    assert second["architectures_from_cache"] == second["architectures_scored"] > 0
    one = run(tmp_path / "one", dataclasses.replace(config, goals=("loss_sum@1",), evaluations=2))
    assert one["architectures_from_cache"] == one["architectures_scored"] > 0
    for name, wanted in history(out).items():
        np.testing.assert_array_equal(history(tmp_path / "first")[name], wanted)
        np.testing.assert_array_equal(history(tmp_path / "second")[name], wanted[:, :3])
    assert [e["ops"] for e in first["searches"]] == [e["ops"] for e in summary["searches"]]
    assert all(entry["seconds"] > 0 for entry in second["searches"])
    # Other kernels are other scores.
    elsewhere = dataclasses.replace(other, outputs="trace")
    with pytest.raises(TypeError, match="not callable"):
        run(tmp_path / "third", elsewhere)


CHANGES = {
    "num_images": 9,
    "batch": "balanced",
    "batch_seed": 1,
    "split": "valid",
    "channels": 3,
    "cells_per_stage": 2,
    "initializer": "he_normal",
    "outputs": "trace",
    "parameters": "all",
    "dtype": "float64",
    "matmul_precision": "high",
    "tile": 4,
    "batch_norms": ("batch",),
    "recipe": "nasbench201",
    "batch_size": 100,
    "learning_rate": 0.5,
    "augmentation": "none",
    "pad": 2,
    "train_images": 300,
    "validation_images": 5,
    "image_size": 4,
    "seed": 1,
    "chunk": 3,
    "strategy": "vmap",
    "data": "digits",
    "batch_classes": 5,
    "feature_seed": 1,
}
"""Every field that a row depends on, with another value."""
SAME = {
    "truth": "digits201/valid",
    "goals": ("trace@1",),
    "metrics": ("mean",),
    "epochs": (0, 5),
    "num_archs": 3,
    "arch_seed": 1,
    "num_seeds": 2,
    "archs": ("000000",),
    "kernels": ("bands:num=2/sum",),
}
"""Fields that no row depends on, beside where files lie and what a search is told."""


def test_rows_are_shared_by_what_they_depend_on_and_nothing_else():
    kept = settings_of_rows(KERNEL)
    for name, value in CHANGES.items():
        assert settings_of_rows(dataclasses.replace(KERNEL, **{name: value})) != kept, name
    for name, value in SAME.items():
        assert settings_of_rows(dataclasses.replace(KERNEL, **{name: value})) == kept, name
    others = {field.name for field in dataclasses.fields(SearchOptions)} | set(LOCATIONS)
    # Those of transformers are told in test_vit_search.
    others |= {"schedule_epochs", "space", "patch_size", "num_shape_classes"}
    named = set(CHANGES) | set(SAME) | others
    assert {field.name for field in dataclasses.fields(SearchConfig)} == named
    # A cosine looks ahead, a constant rate does not.
    cosine = dataclasses.replace(KERNEL, recipe="nasbench201")
    longer = dataclasses.replace(cosine, goals=("lga@5",))
    assert settings_of_rows(longer) != settings_of_rows(cosine)


def test_accuracy_on_images_that_are_not_there_is_refused(tmp_path):
    config = dataclasses.replace(KERNEL, data="digits", goals=("valid_accuracy@1",))
    with pytest.raises(InputError, match="no validation images"):
        run(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_every_search_pays_for_the_reference(whole):
    out, summary = whole
    rows = read_rows(out / "scores.jsonl")
    reference = list(dict.fromkeys(row["ops"] for row in rows))[:3]
    paid = sum(
        row["train_seconds"] + rows_of_cell[0]["seconds"]
        for ops in reference
        for rows_of_cell in [[each for each in rows if each["ops"] == ops]]
        for row in rows_of_cell[-1:]
    )
    assert all(entry["seconds"] >= paid for entry in summary["searches"])


@pytest.mark.parametrize(
    ("goals", "paid"),
    [
        (("params",), 0),
        (("lga@0",), 1),
        (("lga@0", "trace@1"), 103),
        (("lga@0", "loss_sum@1"), 101),
        (("valid_accuracy@1",), 120),
        (("valid_accuracy@1", "trace@1", "loss@1"), 122),
    ],
)
def test_a_search_pays_for_the_kernels_and_tests_that_it_reads(tmp_path, goals, paid):
    config = dataclasses.replace(KERNEL, goals=goals)
    scores = ArchScores(config, tmp_path, Console(file=io.StringIO()))
    arch = nasbench201.parse_ops("421211")
    if scores.trains:
        for epoch, kernel, test, training in [(0, 1.0, 10.0, 0.0), (1, 2.0, 20.0, 100.0)]:
            if epoch in config.reading.epochs:
                row = {"test_seconds": test, "train_seconds": training, "metrics": {}}
                row |= {"parts": {"ntk": kernel / 2}, "metric_seconds": kernel / 2}
                scores._keep(row | {"arch": "421211", "epochs": epoch, "kernel": "ntk"})
    assert scores.seconds(arch) == paid


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"goals": ()}, "goals: got"),
        ({"goals": ("loss",)}, "goals: got loss; say after how many epochs"),
        ({"goals": ("lgo@0",)}, "goals: got 'lgo'"),
        ({"goals": ("loss@0",)}, "goals: got loss@0"),
        ({"goals": ("table:cifar10/valid/200",)}, "goals: got 'cifar10/valid/200'"),
        ({"goals": ("table:digits201/vald",)}, "goals: got .*did you mean 'digits201/valid'"),
        ({"select": "digits201/tets", "finalists": 2}, "select: got .*'digits201/test'"),
        ({"epochs": (-3,)}, "epochs: got .*goals say after how many"),
        ({"kernels": ("bands:num=2/sum",)}, "kernels: got .*goals say of which kernel"),
        ({"patch_size": 2}, "patch_size: got 2; leave it out: .*channels"),
        ({"num_archs": 7}, "num_archs: got 7; leave it out"),
        ({"arch_seed": 1}, "arch_seed: got 1; leave it out"),
        ({"metrics": ("lga",)}, "metrics: got .*--goals"),
        ({"goals": ("params", "params")}, "none twice"),
        ({"weights": (1.0, 2.0)}, "weights: got"),
        ({"weights": (0.0,)}, "weights: got"),
        ({"searches": 0}, "searches: got 0"),
        ({"population": 1}, "population: got 1"),
        ({"max_flops": 0}, "max_flops: got 0"),
        ({"batch_norms": ("frozen", "batch")}, "batch_norms: got"),
        ({"num_seeds": 2}, "num_seeds: got 2"),
        ({"archs": ("000000", "111111")}, "archs: got"),
        ({"search_seed": -1}, "search_seed: got -1"),
        ({"goals": ("params@3",)}, "write params"),
        ({"goals": ("lga@\u00b2",)}, "goals: got lga@\u00b2; name a kernel"),
        ({"finalists": 3}, "select: got None"),
        ({"select": "digits201/valid"}, "finalists: got 1"),
    ],
)
def test_bad_configurations_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        validate_search(dataclasses.replace(TABLE, **changes))


def test_a_configuration_goes_through_json():
    config = dataclasses.replace(KERNEL, weights=(1.0, 2.0))
    assert SearchConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
