"""Searches on a table: what is chosen, and what is said of it."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from jaxntk.data.digits201 import load_digits201
from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201
from jaxntk.studies.search.table import (
    SearchTableConfig,
    choices,
    run_search_table,
    validate_search_table,
)

CONFIG = SearchTableConfig(evaluations=(5, 40), searches=30)


def run(out, config=CONFIG):
    return run_search_table(config, out, command="again", console=Console(file=io.StringIO()))


def test_a_choice_is_the_first_of_the_best_so_far():
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 5, 50).astype(float)
    codes = rng.integers(0, 50, (7, 30))
    found = choices(codes, seen)
    for row, chosen in zip(codes, found, strict=True):
        for at in range(30):
            best = max(row[: at + 1], key=lambda code: seen[code])
            assert chosen[at] == best


def test_results_are_of_the_tables_accuracies(tmp_path):
    summary = run(tmp_path / "run")
    cells = nasbench201.enumerate_space()
    worth = load_digits201().accuracy(cells, "test")
    assert summary["best_in_table"] == worth.max()
    selected = load_digits201().accuracy(cells, "valid")
    assert summary["worth_of_best_selected"] == worth[np.argmax(selected)]
    entries = {(e["search"], e["evaluations"]): e for e in summary["entries"]}
    assert len(entries) == 3 * 2
    for entry in entries.values():
        assert worth.min() <= entry["percentile_2.5"] <= entry["mean"] <= worth.max()
        assert entry["regret"] == pytest.approx(worth.max() - entry["mean"])
        assert entry["searches"] == 30
    random = [entries["random search", at] for at in (5, 40)]
    assert random[0]["mean"] < random[1]["mean"]
    rows = list(csv.DictReader((tmp_path / "run" / "search.csv").read_text().splitlines()))
    assert [float(row["mean"]) for row in rows] == [
        pytest.approx(entry["mean"], abs=1e-4) for entry in summary["entries"]
    ]
    assert (tmp_path / "run" / "search.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_searches(tmp_path):
    def means(config):
        return [entry["mean"] for entry in run(tmp_path / str(config.seed), config)["entries"]]

    assert means(CONFIG) == means(CONFIG)
    assert means(CONFIG) != means(dataclasses.replace(CONFIG, seed=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluations": ()}, "evaluations: got"),
        ({"evaluations": (20, 10)}, "evaluations: got .*rising"),
        ({"searches": 1}, "searches: got 1"),
        ({"population": 0}, "population: got 0"),
        ({"generation": 0}, "population: got 0"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_bad_configurations_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        validate_search_table(dataclasses.replace(CONFIG, **changes))


def test_an_unknown_truth_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError):
        run(tmp_path / "run", dataclasses.replace(CONFIG, select="cifar10/valid/200"))
    assert not (tmp_path / "run").exists()


def test_results_of_another_configuration_are_left_alone(tmp_path):
    run(tmp_path / "run")
    before = (tmp_path / "run" / "summary.json").read_bytes()
    with pytest.raises(InputError, match="a run with searches=30 where 31 is asked"):
        run(tmp_path / "run", dataclasses.replace(CONFIG, searches=31))
    assert (tmp_path / "run" / "summary.json").read_bytes() == before
    run(tmp_path / "run")
