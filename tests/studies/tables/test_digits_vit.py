"""The maker of Digits-ViT: what it trains, and that it goes on after a kill."""

import io

import numpy as np
import pytest
from rich.console import Console

from jaxntk.data.digits_vit import IMAGES, load_digits_vit
from jaxntk.studies.tables import digits_vit
from jaxntk.studies.tables.digits_vit_card import card
from jaxntk.studies.tables.make import train, trainings


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(digits_vit, "EPOCHS", 1)
    monkeypatch.setattr(digits_vit, "CHUNK", 2)


def test_every_architecture_is_trained_once_and_some_three_times():
    tasks = digits_vit.all_tasks()
    assert len(tasks) == len(set(tasks)) == 504 + 2 * 60
    seeds: dict[str, set[int]] = {}
    for task in tasks:
        seeds.setdefault(task.name, set()).add(task.seed)
    counts = [len(each) for each in seeds.values()]
    assert (len(counts), counts.count(3), counts.count(1)) == (504, 60, 444)
    assert all(digits_vit.SEED in each for each in seeds.values())


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(small, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    console = Console(file=io.StringIO())
    assert train(digits_vit.BENCHMARK, whole, console, limit=3) == 3
    assert train(digits_vit.BENCHMARK, cut, console, limit=1) == 1
    assert train(digits_vit.BENCHMARK, cut, console, limit=2) == 3
    rows = [trainings(out) for out in (whole, cut)]
    for one, other in zip(*rows, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for row in rows[0]:
        for split in ("valid", "test"):
            assert 0 <= row[split][0] <= IMAGES[split]
        shown = row["train"][0] * IMAGES["train"]
        assert abs(shown - round(shown)) < 0.1


def test_the_card_reads_the_shipped_table():
    lines = card(load_digits_vit())
    assert lines["architectures"] == "504"
    assert lines["trainings"] == "624, 0 of them not finite"
    agreements = [
        float(value.split()[0]) for name, value in lines.items() if name.startswith("agreement")
    ]
    assert len(agreements) == 3
    (ceiling,) = (float(value) for name, value in lines.items() if name.startswith("ceiling"))
    assert np.mean(agreements) < ceiling < 1
