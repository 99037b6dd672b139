"""Searches of transformers by their kernels: what is scored, that they go on, what they choose."""

import dataclasses
import io
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxntk.data.batches import make_batch, standardize
from jaxntk.data.digits_vit import SPACE, load_digits_vit
from jaxntk.data.images import load_images
from jaxntk.errors import InputError
from jaxntk.kernels.fourier import ViNTK
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics import evaluate
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.vit import transformer_model
from jaxntk.runs import row_store
from jaxntk.runs.rows import read_rows
from jaxntk.spaces import autoformer
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import sample
from jaxntk.studies.search.config import SearchConfig, validate_search
from jaxntk.studies.search.run import run_search
from jaxntk.studies.search.scores import ArchScores, settings_of_rows
from jaxntk.studies.search.searchable import limited_to

CONFIG = SearchConfig(
    space="digits-vit",
    data="digits",
    truth="digits_vit/test",
    split="train",
    batch="balanced",
    algorithm="genetic",
    goals=("condition_number@ntk", "lga@bands:num=2/sum"),
    dtype="float32",
    num_images=20,
    evaluations=8,
    searches=2,
    population=4,
    reference=3,
)
REAL = {name: getattr(ModelKernels, name) for name in ("__call__", "prepare", "tile")}


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Kernels that cost nothing; every one that was asked for."""
    calls = []

    def call(self, arch, how=None, *, init_seed=None):
        calls.append((tuple(arch.tolist()), how))
        seed = sum(map(ord, str(how))) + int(np.dot(arch, 1 + np.arange(len(arch))))
        rows = np.random.default_rng(seed).normal(size=(len(self.x), len(self.x) + 2))
        return (rows @ rows.T).astype(np.float32)

    monkeypatch.setattr(ModelKernels, "__call__", call)
    monkeypatch.setattr(ModelKernels, "prepare", lambda *_, **__: None)
    monkeypatch.setattr(ModelKernels, "tile", lambda self, *_: len(self.x))
    return calls


def run(out, config=CONFIG):
    return run_search(config, out, command="again", console=Console(file=io.StringIO()))


def history(out):
    with np.load(out / "history.npz") as file:
        return {name: file[name] for name in ("archs", "scores")}


def test_each_kernel_is_computed_once(tmp_path, asked):
    summary = run(tmp_path / "run")
    assert len(asked) == len(set(asked))
    rows = read_rows(tmp_path / "run" / "scores.jsonl")
    names = {row["arch"] for row in rows}
    assert len(rows) == 2 * len(names) == 2 * summary["architectures_scored"]
    # The images' kernel is part of both; the two bands are one call.
    assert len(asked) == 2 * len(names)
    archs = history(tmp_path / "run")["archs"].reshape(-1, len(SPACE.sizes))
    assert {autoformer.to_string(arch, SPACE) for arch in archs} <= names


def test_choices_are_judged_by_the_table(tmp_path):
    config = dataclasses.replace(CONFIG, goals=("table:digits_vit/valid",), evaluations=30)
    summary = run(tmp_path / "run", config)
    table, found = load_digits_vit(), history(tmp_path / "run")
    for archs, scores, entry in zip(*found.values(), summary["searches"], strict=True):
        np.testing.assert_allclose(scores, table.accuracy(archs, "valid"))
        best = archs[np.argmax(scores)][None]
        assert entry["accuracy"] == table.accuracy(best, "test")[0]
    assert summary["architectures_scored"] == 0
    assert summary["levels"]["best_there_is"] == table.by_code("test").max()
    assert summary["levels"]["random"] == pytest.approx(table.by_code("test").mean())


def test_a_space_without_a_table_is_searched_too(tmp_path):
    config = dataclasses.replace(
        CONFIG, space="pit", truth=None, goals=("lga@ntk",), image_size=32, max_params=2_000_000
    )
    summary = run(tmp_path / "run", config)
    assert summary["of"] == "score"
    assert summary["levels"] == {}
    for row in read_rows(tmp_path / "run" / "scores.jsonl"):
        assert row["params"] <= config.max_params, row
    assert (tmp_path / "run" / "best.png").exists()


@pytest.mark.parametrize("limit", ["max_params", "max_flops"])
def test_limits_hold_in_spaces_that_cannot_be_listed(limit):
    """They cut the space where its costs say, up to a millionth."""
    space = SPACES["autoformer-tiny"]
    sizes = {"image_size": 32, "in_channels": 1, "num_classes": 10}
    costs = partial(space.costs, **sizes, patch_size=4)
    archs = sample(space, jax.random.key(0), 200)
    counts = getattr(costs(archs), limit.removeprefix("max_"))
    config = dataclasses.replace(CONFIG, **{limit: int(np.median(counts))})
    admits = limited_to(space, costs, config).admits
    found = np.asarray(jax.vmap(admits)(jnp.asarray(archs)))
    most = getattr(config, limit)
    np.testing.assert_array_equal(found, counts <= (1 - 1e-6) * most)
    assert 0 < found.sum() < 200


def test_a_killed_search_goes_on_to_the_same_history(tmp_path, monkeypatch):
    summary = run(tmp_path / "whole")
    wanted = history(tmp_path / "whole")

    class Killed(Exception):
        pass

    real, written, kills = row_store.append_row, 0, 0

    def dies_later(path, row):
        nonlocal written
        real(path, row)
        written += 1
        if written in (1, 4, 9):
            raise Killed

    monkeypatch.setattr(row_store, "append_row", dies_later)
    for _ in range(4):
        try:
            again = run(tmp_path / "cut")
            break
        except Killed:
            kills += 1
    assert kills == 3
    for name, value in history(tmp_path / "cut").items():
        np.testing.assert_array_equal(value, wanted[name])
    named = [[e["arch"] for e in each["searches"]] for each in (again, summary)]
    assert named[0] == named[1]
    rows = [read_rows(tmp_path / name / "scores.jsonl") for name in ("cut", "whole")]
    assert len(rows[0]) == len(rows[1])


def test_a_second_run_computes_no_kernel_that_a_first_one_has_computed(tmp_path, asked):
    config = dataclasses.replace(CONFIG, score_cache=str(tmp_path / "cache"))
    run(tmp_path / "first", config)
    wanted = history(tmp_path / "first")
    asked.clear()
    second = run(tmp_path / "second", config)
    assert asked == []
    for name, value in history(tmp_path / "second").items():
        np.testing.assert_array_equal(value, wanted[name])
    assert second["architectures_from_cache"] == second["architectures_scored"] > 0
    # Another metric of the same kernel is in its row.
    other = dataclasses.replace(config, goals=("trace@ntk",), evaluations=4)
    found = run(tmp_path / "third", other)
    assert found["architectures_from_cache"] > 0


def test_rows_are_shared_by_what_they_depend_on_and_nothing_else():
    """What is the same in every space is told in test_search_cells."""
    kept = settings_of_rows(CONFIG)
    changes = {"space": "autoformer-tiny", "patch_size": 4, "image_size": 16, "feature_seed": 1}
    for name, value in changes.items():
        assert settings_of_rows(dataclasses.replace(CONFIG, **{name: value})) != kept, name
    same = {"truth": None, "goals": ("trace@ntk",), "patch_size": 2}
    for name, value in same.items():
        assert settings_of_rows(dataclasses.replace(CONFIG, **{name: value})) == kept, name
    pit = dataclasses.replace(CONFIG, space="pit")
    fewer = dataclasses.replace(pit, num_shape_classes=4)
    assert settings_of_rows(pit) != settings_of_rows(fewer)


@pytest.fixture
def real(monkeypatch):
    """Kernels as they are, in float64."""
    for name, method in REAL.items():
        monkeypatch.setattr(ModelKernels, name, method)
    with jax.enable_x64(True):
        yield


def test_scores_are_those_of_the_kernels_that_are_asked_for(tmp_path, real):
    """Held against kernels made here of every setting, none at its default."""
    how = "patch_content:sigma=0.5:features=3/sum:1,2"
    own = {"outputs": "trace", "dtype": "float64", "parameters": "all"}
    seeds = {"seed": 3, "feature_seed": 4}
    goals = (f"trace@{how}", "lga@ntk", "params")
    config = dataclasses.replace(
        CONFIG, truth=None, goals=goals, patch_size=4, tile=10, **own, **seeds
    )
    scores = ArchScores(config, tmp_path, Console(file=io.StringIO()))
    arch = autoformer.from_string("8:1x4,4x1", SPACE)
    dormant = arch.copy()
    dormant[[4, 7]] = 1
    values = scores(np.stack([arch, dormant]))
    dataset, _ = standardize(load_images("digits"))
    batch = make_batch(dataset, config.num_images, seed=config.batch_seed)
    model = transformer_model(AutoFormer(SPACE, 10, 4))
    kernels = ModelKernels(model, KernelSettings(**own), batch.x, init_seed=3, feature_seed=4)
    vintk = ViNTK.parse(how)
    plain, fourier = kernels(arch), kernels(arch, vintk.map)
    assert values[0, 0] == pytest.approx(np.trace(plain + 2 * fourier), rel=1e-9)
    assert values[0, 1] == pytest.approx(evaluate(plain, batch.y, ("lga",))["lga"].value, rel=1e-9)
    np.testing.assert_array_equal(values[0], values[1])
    assert scores.scored == 1


def test_a_kernel_that_two_goals_share_is_paid_once(tmp_path):
    scores = ArchScores(CONFIG, tmp_path, Console(file=io.StringIO()))
    arch = autoformer.from_string("8:1x4", SPACE)
    scores(arch[None])
    ntk, vintk = read_rows(tmp_path / "scores.jsonl")
    assert set(ntk["parts"]) == {"ntk"}
    assert set(vintk["parts"]) == {"ntk", "bands:num=2"}
    paid = sum(vintk["parts"].values()) + ntk["metric_seconds"] + vintk["metric_seconds"]
    assert scores.seconds(arch) == pytest.approx(paid)


def test_lower_scores_are_better_where_they_are(tmp_path):
    scores = ArchScores(CONFIG, tmp_path, Console(file=io.StringIO()))
    arch = autoformer.from_string("8:1x4", SPACE)
    value = scores(arch[None])[0, 0]
    row = read_rows(tmp_path / "scores.jsonl")[0]
    assert value == -row["metrics"]["condition_number"]["value"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_images": 8}, "num_images: got 8; lga needs several images of a class"),
        ({"patch_size": 3}, "data: got images of shape .*multiple of 3 pixels"),
        ({"goals": ("lga@bands:num=40/sum",)}, "num_bands: got 40"),
        ({"data": "npz:wide.npz"}, r"data: got images of shape \(8, 12, 1\).*square"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, changes, words):
    images = np.zeros((30, 8, 12, 1), np.uint8)
    images[:, 0, 0] = np.arange(30)[:, None]
    labels = np.arange(30) % 3
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    np.savez(tmp_path / "wide.npz", **arrays)
    config = dataclasses.replace(CONFIG, truth=None, data_dir=str(tmp_path), **changes)
    with pytest.raises(InputError, match=words):
        run(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_other_images_have_no_truth(tmp_path):
    config = dataclasses.replace(CONFIG, data="digits201", split="valid")
    with pytest.raises(InputError, match="truth: got digits_vit/test for other networks or images"):
        run(tmp_path / "run", config)
    summary = run(tmp_path / "run", dataclasses.replace(config, truth=None))
    assert summary["of"] == "score"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": "swin"}, "space: got 'swin'"),
        ({"goals": ("lgo@ntk",)}, "goals: got 'lgo'"),
        ({"goals": ("params@ntk",)}, "write params"),
        ({"goals": ("lga@somewhere/sum",)}, "goals: got lga@somewhere.*where: 'somewhere'"),
        ({"goals": ("table:digits201/valid",)}, "goals: got 'digits201/valid'"),
        ({"truth": "digits201/test"}, "truth: got"),
        ({"space": "pit", "truth": "digits_vit/test"}, "truth: got digits_vit/test; .*no table"),
        ({"batch_norms": ("running",)}, "batch_norms: got .*have no batch normalisation"),
        ({"channels": 4}, "channels: got 4; leave it out: .*patch_size"),
        ({"dtype": "mixed"}, "dtype: got mixed"),
        ({"patch_size": 4, "truth": "digits_vit/test"}, "truth: got digits_vit/test for other"),
        ({"data": "digits201", "goals": ("table:digits_vit/valid",)}, "goals: got digits_vit/v"),
        ({"patch_size": 0}, "patch_size: got 0"),
        ({"goals": ("lga@bands:num=2/product:0.5,1",)}, "give whole powers"),
        ({"num_images": 1}, "num_images: got 1"),
        ({"tile": 0}, "tile: got 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"searches": 0}, "searches: got 0"),
    ],
)
def test_bad_configurations_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        validate_search(dataclasses.replace(CONFIG, **changes))


def test_a_configuration_goes_through_json():
    assert SearchConfig.from_json(json.loads(json.dumps(CONFIG.to_json()))) == CONFIG
