"""Searches at equal seconds: what a training costs, what is chosen by then, what is refused."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from jaxntk.data.digits201 import load_digits201
from jaxntk.errors import InputError
from jaxntk.results.compare_table import NONE
from jaxntk.runs import run_folder
from jaxntk.runs.row_store import RowStore
from jaxntk.runs.rows import read_json, write_json_atomic
from jaxntk.studies.search.compare import (
    Run,
    compare_entries,
    look_seconds,
    read_run,
    run_compare,
)
from jaxntk.studies.search.compare_config import CompareConfig
from jaxntk.studies.search.guided import run_guided_search
from tests.studies.search.guided import EVERYTHING, OPTIONS, Remembered, searchable, worth


def search(out, space=None, **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    console = Console(file=io.StringIO())
    space = space or searchable()
    run_guided_search(options, space, lambda _: None, out, command="again", console=console)
    with np.load(out / "history.npz") as file:
        return dict(file)


def compare(out, *runs, **changes):
    console = Console(file=io.StringIO(), width=140)
    config = CompareConfig(runs=tuple(str(run) for run in runs), **changes)
    return run_compare(config, out, command="again", console=console), console.file.getvalue()


def test_choices_within_a_budget_are_those_of_a_plain_loop(tmp_path):
    kept = search(tmp_path / "run")
    budgets = (0.5, 3.0, 7.0, 1e6)
    summary, shown = compare(tmp_path / "out", tmp_path / "run", budgets=budgets)
    (whole, *rest) = summary["entries"]
    assert whole["whole"]
    assert whole["budget_seconds"] == pytest.approx(kept["seconds"].sum(axis=1).mean())
    for entry, budget in zip(rest, budgets, strict=True):
        chosen = []
        for archs, scores, seconds in zip(
            kept["archs"], kept["scores"], kept["seconds"], strict=True
        ):
            left, best = budget, None
            for arch, score, cost in zip(archs, scores, seconds, strict=True):
                left -= cost
                if left < 0:
                    break
                if np.isfinite(score) and (best is None or score > best[0]):
                    best = score, worth(arch[None])[0]
            chosen += [] if best is None else [best[1]]
        assert entry["chose"] == len(chosen), budget
        assert entry["mean"] == (pytest.approx(np.mean(chosen)) if chosen else None)
    lines = [line.split("│")[2:-1] for line in shown.splitlines() if "evolution" in line]
    first, second = ([cell.strip() for cell in line] for line in lines)
    spread = f"{whole['mean']:.2f} ± {whole['standard_deviation']:.2f}"
    assert first == ["12", f"{whole['budget_seconds']:.3g}", spread]
    means = [NONE if entry["mean"] is None else f"{entry['mean']:.2f}" for entry in rest]
    assert [cell.split(" (")[0] for cell in second] == means
    assert NONE in means
    assert (tmp_path / "out" / "compare_searches.png").read_bytes().startswith(b"\x89PNG")
    assert read_json(tmp_path / "out" / "summary.json")["entries"] == summary["entries"]


def test_a_table_costs_a_training_for_each_new_architecture(tmp_path):
    free = Remembered(worth)
    free.seconds = lambda arch: 0.0
    kept = search(tmp_path / "run", searchable(free), goals=("table:accuracy",))
    run = read_run(tmp_path / "run", 1.5)
    distinct = [
        [len({str(arch[:2]) for arch in archs[: at + 1]}) for at in range(len(archs))]
        for archs in kept["archs"]
    ]
    np.testing.assert_allclose(run.seconds, 1.5 * np.array(distinct))


def test_our_own_tables_know_what_a_look_took():
    trainings = load_digits201().trainings
    wanted = np.mean([trainings.seconds[trainings.subject == at].sum() for at in range(4930)])
    assert look_seconds("digits201/test") == pytest.approx(wanted)
    assert look_seconds("digits_vit/valid") > 0
    assert look_seconds("cifar10/test/200") is None
    assert look_seconds("digits201/test", "NVIDIA H200") is None


def test_finalists_are_trained(tmp_path):
    kept = search(tmp_path / "run", searchable(select=worth), select="accuracy", finalists=3)
    run = read_run(tmp_path / "run", 2.0)
    looked = [
        [
            min(3, max(1, len({str(a[:2]) for a in archs[: at + 1] if a[1] != 3})))
            for at in range(len(archs))
        ]
        for archs in kept["archs"]
    ]
    assert np.ptp(looked) > 0
    wanted = np.cumsum(kept["seconds"], axis=1) + 2.0 * np.array(looked)
    np.testing.assert_allclose(run.seconds, wanted)
    assert run.name.endswith("best of 3 trained")


def test_finalists_that_the_goal_has_looked_up_are_trained_for_once(tmp_path):
    free = Remembered(worth)
    free.seconds = lambda arch: 0.0
    for select, more in (("accuracy/test", False), ("another/test", True)):
        space = searchable(free, select=worth)
        changes = {"goals": ("table:accuracy/valid",), "select": select, "finalists": 3}
        kept = search(tmp_path / select, space, **changes)
        run = read_run(tmp_path / select, 2.0)
        paid = 2.0 * np.cumsum(kept["fresh"], axis=1) + 2.0 * more * kept["finalists"]
        np.testing.assert_allclose(run.seconds, paid)


def test_accuracies_of_two_tables_take_two_trainings(tmp_path):
    free = Remembered(worth, worth, worth)
    free.seconds = lambda arch: 0.0
    goals = ("table:one/valid", "table:two/valid", "table:two/test")
    kept = search(tmp_path / "run", searchable(free), goals=goals, reference=5)
    looks = kept["reference_fresh"] + kept["fresh"].sum(axis=1)
    np.testing.assert_allclose(read_run(tmp_path / "run", 3.0).seconds[:, -1], 6.0 * looks)


def test_a_run_on_two_kinds_of_devices_has_no_seconds(tmp_path, monkeypatch):
    search(tmp_path / "run")
    rows = RowStore(tmp_path / "run", ("arch",))
    rows.add({"arch": "a"})
    assert read_run(tmp_path / "run", None).device == "cpu"
    other = {"platform": "gpu", "kind": "NVIDIA H200", "count": 1}
    monkeypatch.setattr(run_folder, "device", lambda: other)
    for arch in "bc":
        again = RowStore(tmp_path / "run", ("arch",))
        again.read()
        again.add({"arch": arch})
    assert read_json(tmp_path / "run" / "environment.json")["resumed_on"] == [other]
    with pytest.raises(InputError, match="computed on NVIDIA H200 and cpu"):
        read_run(tmp_path / "run", None)


def test_the_reference_of_a_table_is_trained_too(tmp_path):
    free = Remembered(worth, lambda archs: -worth(archs))
    free.seconds = lambda arch: 0.0
    kept = search(
        tmp_path / "run", searchable(free), goals=("table:accuracy", "params"), reference=7
    )
    looks = kept["reference_fresh"] + kept["fresh"].sum(axis=1)
    assert 0 < kept["reference_fresh"] <= 7
    run = read_run(tmp_path / "run", 3.0)
    np.testing.assert_allclose(run.seconds[:, -1], 3.0 * looks)


def test_evaluations_are_equal(tmp_path):
    kept = search(tmp_path / "long", evaluations=12)
    search(tmp_path / "short", evaluations=5, goals=("another",))
    summary, _ = compare(tmp_path / "out", tmp_path / "long", tmp_path / "short", budgets=(1e6,))
    whole = [entry for entry in summary["entries"] if entry["whole"]]
    assert [entry["evaluations"] for entry in whole] == [5, 5]
    assert whole[0]["mean"] == pytest.approx(np.nanmean(kept["worth"][:, 4]))
    assert whole[0]["budget_seconds"] == pytest.approx(kept["seconds"][:, :5].sum(axis=1).mean())


def test_what_chooses_at_its_end_has_the_time_of_its_longest():
    worth_of = np.array([[np.nan, 80.0], [np.nan, 90.0]])
    seconds = np.array([[1.0, 2.0], [2.0, 4.0]])
    pruning = Run("pruning", "accuracy", {}, "cpu", worth_of, seconds)
    entries = compare_entries([pruning], ())
    assert [(e["budget_seconds"], e["chose"]) for e in entries] == [(3.0, 2), (4.0, 2)]
    early = dataclasses.replace(pruning, worth=np.array([[70.0, 80.0], [60.0, 90.0]]))
    assert early.whole_seconds == 3.0


def test_runs_of_one_name_are_told_apart(tmp_path):
    for name in ("one", "two"):
        search(tmp_path / name, search_seed=len(name) + (name == "two"))
    summary, _ = compare(tmp_path / "out", tmp_path / "one", tmp_path / "two")
    assert len({entry["search"] for entry in summary["entries"]}) == 2


def test_what_cannot_be_compared_is_refused(tmp_path):
    search(tmp_path / "run")
    search(tmp_path / "table", goals=("table:accuracy",))
    search(tmp_path / "other", searchable(of="another"))
    search(tmp_path / "score", searchable(truth=None))
    search(tmp_path / "small", searchable(everything=EVERYTHING[:5]))
    search(tmp_path / "gpu")
    made = read_json(tmp_path / "gpu" / "environment.json")
    made["device"]["kind"] = "NVIDIA H200"
    write_json_atomic(tmp_path / "gpu" / "environment.json", made)
    cases = [
        ((tmp_path / "nothing",), {}, "runs: got .*nothing; give the folder of a finished"),
        ((tmp_path / "table",), {}, "training_seconds"),
        ((tmp_path / "run", tmp_path / "other"), {}, "judged by another"),
        ((tmp_path / "score",), {}, "judged by its score"),
        ((tmp_path / "run", tmp_path / "small"), {}, "where best_there_is is"),
        ((tmp_path / "run", tmp_path / "gpu"), {}, "of one kind of device"),
        ((tmp_path / "run", tmp_path / "run"), {}, "none twice"),
        ((), {}, "at least one folder"),
        ((tmp_path / "run",), {"budgets": (0.0,)}, "budgets"),
        ((tmp_path / "run",), {"training_seconds": -1.0}, "training_seconds"),
    ]
    for runs, changes, named in cases:
        with pytest.raises(InputError, match=named):
            compare(tmp_path / "out", *runs, **changes)
        assert not (tmp_path / "out").exists()


def test_the_folder_of_a_search_is_left_alone(tmp_path):
    search(tmp_path / "run")
    before = (tmp_path / "run" / "summary.json").read_bytes()
    with pytest.raises(InputError, match="where compare_searches is asked; give another folder"):
        compare(tmp_path / "run", tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").read_bytes() == before


def test_a_history_of_an_older_version_is_named(tmp_path):
    kept = search(tmp_path / "run")
    np.savez(tmp_path / "run" / "history.npz", archs=kept["archs"])
    with pytest.raises(InputError, match="older version"):
        read_run(tmp_path / "run", None)
