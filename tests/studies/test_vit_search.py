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

from jaxntk.data.digits_vit import SPACE, load_digits_vit
from jaxntk.errors import InputError
from jaxntk.metrics import METRICS, evaluate
from jaxntk.results.rows import read_rows
from jaxntk.spaces import autoformer
from jaxntk.studies import vit_scores
from jaxntk.studies.vit_kernels import ViTKernels
from jaxntk.studies.vit_scores import VitScores
from jaxntk.studies.vit_search import limited_by_counting, run_vit_search
from jaxntk.studies.vit_search_config import VitGoal, VitSearchConfig, validate_vit_search
from jaxntk.studies.vit_spaces import TransformerSpace

CONFIG = VitSearchConfig(
    goals=("condition_number@ntk", "lga@bands:num=2/sum"),
    num_images=12,
    evaluations=8,
    searches=2,
    population=4,
    reference=3,
)
REAL = ViTKernels.__call__


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Kernels that cost nothing; every one that was asked for."""
    calls = []

    def call(self, family, arch, how=None):
        calls.append((tuple(arch.tolist()), how))
        seed = sum(map(ord, f"{family}{how}")) + int(np.dot(arch, 1 + np.arange(len(arch))))
        rows = np.random.default_rng(seed).normal(size=(len(self.x), len(self.x) + 2))
        return (rows @ rows.T).astype(np.float32)

    monkeypatch.setattr(ViTKernels, "__call__", call)
    monkeypatch.setattr(ViTKernels, "prepare", lambda *_arguments: None)
    return calls


def run(out, config=CONFIG):
    return run_vit_search(config, out, command="again", console=Console(file=io.StringIO()))


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
        CONFIG, space="pit", goals=("lga@ntk",), image_size=32, max_params=2_000_000
    )
    summary = run(tmp_path / "run", config)
    assert summary["of"] == "score"
    assert summary["levels"] == {}
    for row in read_rows(tmp_path / "run" / "scores.jsonl"):
        assert row["params"] <= config.max_params, row
    assert (tmp_path / "run" / "best.png").exists()


@pytest.mark.parametrize("limit", ["max_params", "max_flops"])
def test_limits_hold_in_spaces_that_cannot_be_listed(tmp_path, limit):
    """They cut the space where its costs say, up to a millionth."""
    space = TransformerSpace("autoformer-tiny")
    sizes = {"image_size": 32, "in_channels": 1, "num_classes": 10}
    costs = partial(space.costs, **sizes, patch_size=4)
    archs = autoformer.sample(jax.random.key(0), 200, autoformer.TINY)
    counts = getattr(costs(archs), limit.removeprefix("max_"))
    config = dataclasses.replace(CONFIG, **{limit: int(np.median(counts))})
    admits = limited_by_counting(space, costs, config).admits
    found = np.asarray(jax.vmap(admits)(jnp.asarray(archs)))
    most = getattr(config, limit)
    np.testing.assert_array_equal(found, counts <= (1 - 1e-6) * most)
    assert 0 < found.sum() < 200


def test_a_killed_search_goes_on_to_the_same_history(tmp_path, monkeypatch):
    summary = run(tmp_path / "whole")
    wanted = history(tmp_path / "whole")

    class Killed(Exception):
        pass

    real, written, kills = vit_scores.append_row, 0, 0

    def dies_later(path, row):
        nonlocal written
        real(path, row)
        written += 1
        if written in (1, 4, 9):
            raise Killed

    monkeypatch.setattr(vit_scores, "append_row", dies_later)
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


def test_scores_are_those_of_the_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(ViTKernels, "__call__", REAL)
    config = dataclasses.replace(CONFIG, goals=("condition_number@ntk", "lga@ntk", "params"))
    scores = VitScores(config, tmp_path, Console(file=io.StringIO()))
    arch = autoformer.from_string("8:1x4,4x1", SPACE)
    dormant = arch.copy()
    dormant[[4, 7]] = 1
    values = scores(np.stack([arch, dormant]))
    gram = scores._kernels("autoformer", arch)
    wanted = evaluate(gram, scores._batch.y, ("condition_number", "lga"))
    assert values[0, 0] == pytest.approx(-wanted["condition_number"].value)
    assert values[0, 1] == pytest.approx(wanted["lga"].value)
    np.testing.assert_array_equal(values[0], values[1])
    assert scores.scored == 1
    assert not METRICS["condition_number"].higher_is_better


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("lga@ntk", VitGoal("lga", "ntk")),
        ("lga@bands:num=4/sum", VitGoal("lga", "bands:num=4/sum")),
        ("flops", VitGoal("flops")),
        ("table:digits_vit/valid", VitGoal("table:digits_vit/valid")),
    ],
)
def test_goals_are_read(text, wanted):
    assert VitGoal.parse(text) == wanted


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": "swin"}, "space: got 'swin'"),
        ({"goals": ("lga",)}, "goals: got lga; say of which kernel"),
        ({"goals": ("lgo@ntk",)}, "goals: got 'lgo'"),
        ({"goals": ("params@ntk",)}, "write params"),
        ({"goals": ("lga@somewhere/sum",)}, "where: got 'somewhere'"),
        ({"goals": ("table:digits201/valid",)}, "goals: got 'digits201/valid'"),
        ({"truth": "digits201/test"}, "truth: got"),
        ({"space": "pit", "truth": "digits_vit/test"}, "space: got pit with digits_vit/test"),
        ({"space": "pit", "goals": ("table:digits_vit/valid",)}, "space: got pit with table"),
        ({"num_images": 1}, "num_images: got 1"),
        ({"tile": 0}, "tile: got 0"),
        ({"init_seed": -1}, "init_seed: got -1"),
        ({"searches": 0}, "searches: got 0"),
    ],
)
def test_bad_configurations_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        validate_vit_search(dataclasses.replace(CONFIG, **changes))


def test_a_configuration_goes_through_json():
    assert VitSearchConfig.from_json(json.loads(json.dumps(CONFIG.to_json()))) == CONFIG
