"""Pruning by kernels: which supernets are asked for, what follows from rows, and killed runs."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from jaxntk.data.digits201 import load_digits201
from jaxntk.errors import InputError
from jaxntk.runs import row_store
from jaxntk.runs.rows import read_rows
from jaxntk.runs.study import run_study
from jaxntk.spaces import nasbench201
from jaxntk.studies.search import prune, supernet_scores
from jaxntk.studies.search.compare import run_compare
from jaxntk.studies.search.compare_config import CompareConfig
from jaxntk.studies.search.prune import PRUNE
from jaxntk.studies.search.prune_config import PruneConfig, validate_prune
from jaxntk.studies.search.supernet_scores import told_of

CONFIG = PruneConfig(
    data="digits201",
    split="valid",
    num_images=8,
    channels=2,
    cells_per_stage=1,
    goals=("trace", "lga_centred"),
    dtype="float32",
    searches=2,
)
ASKED = 6 * (5 + 4 + 3 + 2)


@pytest.fixture(scope="module", autouse=True)
def _compiled_once():
    """The kernel does not depend on what the configurations here differ in."""
    real = supernet_scores._compiled
    kept = []

    def once(config, job, console):
        if not kept:
            kept.append(real(config, job, console))
        return kept[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supernet_scores, "_compiled", once)
        yield


def run(out, config=CONFIG):
    return run_study(PRUNE, config, out, command="again", console=Console(file=io.StringIO()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("prune") / "whole"
    return out, run(out)


def test_held_against_searches_a_pruning_has_chosen_nothing_before_its_end(whole, tmp_path):
    out, summary = whole
    entries, paid = summary["searches"], [each["seconds"] for each in summary["searches"]]
    budgets = (0.9 * min(paid), 1.01 * max(paid))
    config = CompareConfig(runs=(str(out),), budgets=budgets)
    console = Console(file=io.StringIO())
    found = run_compare(config, tmp_path / "out", command="again", console=console)["entries"]
    assert {entry["search"] for entry in found} == {"pruning, trace + lga_centred"}
    accuracies = [each["accuracy"] for each in entries]
    for entry, chosen in zip(found, (accuracies, [], accuracies), strict=True):
        assert entry["chose"] == len(chosen), entry
        assert entry["mean"] == (pytest.approx(np.mean(chosen)) if chosen else None)
    assert found[0]["evaluations"] == ASKED
    assert found[0]["budget_seconds"] == pytest.approx(np.mean(paid))


def test_four_rounds_ask_for_each_operation_that_is_left(whole):
    out, summary = whole
    rows = read_rows(out / "scores.jsonl")
    assert summary["kernels_a_search"] == summary["supernets_a_search"] == ASKED
    assert len(rows) == 2 * ASKED
    sizes = [sum(len(edge) for edge in row["supernet"].split("-")) for row in rows[:ASKED]]
    assert sizes == [29] * 30 + [23] * 24 + [17] * 18 + [11] * 12
    assert {row["init_seed"] for row in rows} == {0, 1}


def test_the_cell_follows_from_the_rows(whole):
    """A plain loop over the rows: of each edge the operation goes whose loss leaves most."""
    out, summary = whole
    rows = read_rows(out / "scores.jsonl")
    for search, entry in enumerate(summary["searches"]):
        known = {row["supernet"]: row["metrics"] for row in rows if row["init_seed"] == search}
        left = [set("01234") for _ in range(6)]
        while len(left[0]) > 1:
            asked = [(edge, op) for edge in range(6) for op in sorted(left[edge])]
            names = []
            for edge, op in asked:
                fewer = [ops - {op} if at == edge else ops for at, ops in enumerate(left)]
                names.append("-".join("".join(sorted(ops)) for ops in fewer))
            ranks = np.zeros(len(asked))
            for goal in CONFIG.goals:
                values = np.array([known[name][goal]["value"] for name in names])
                ranks += np.array([(values < value).sum() for value in values])
            for edge in range(6):
                mine = [at for at, (where, _) in enumerate(asked) if where == edge]
                left[edge] -= {asked[mine[int(np.argmax(ranks[mine]))]][1]}
        ops = "".join(next(iter(ops)) for ops in left)
        assert entry["ops"] == ops
        accuracy = load_digits201().accuracy(nasbench201.parse_ops(ops)[None], "test")[0]
        assert entry["accuracy"] == accuracy
        assert entry["seconds"] > 0
    assert (out / "prune_supernet.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_run_goes_on_to_the_same_cells(whole, tmp_path, monkeypatch):
    out, summary = whole
    real, written = row_store.append_row, 0

    class Killed(Exception):
        pass

    def dies_later(path, row):
        nonlocal written
        real(path, row)
        written += 1
        if written in (1, 40, 100):
            raise Killed

    monkeypatch.setattr(row_store, "append_row", dies_later)
    for _ in range(3):
        with pytest.raises(Killed):
            run(tmp_path / "cut")
    again = run(tmp_path / "cut")
    without = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(f / "scores.jsonl")]
        for f in (out, tmp_path / "cut")
    ]
    assert without[0] == without[1]
    assert [e["ops"] for e in again["searches"]] == [e["ops"] for e in summary["searches"]]


def test_runs_share_supernets_whatever_they_prune_by(whole, tmp_path, monkeypatch):
    _, summary = whole
    cached = dataclasses.replace(CONFIG, score_cache=str(tmp_path / "cache"))
    first = run(tmp_path / "first", cached)
    assert (first["kernels"], first["kernels_from_cache"]) == (2 * ASKED, 0)
    assert [e["ops"] for e in first["searches"]] == [e["ops"] for e in summary["searches"]]

    def never(*_):
        raise AssertionError("a kernel was compiled")

    monkeypatch.setattr(supernet_scores, "_compiled", never)
    # The second search of the first run.
    later = dataclasses.replace(cached, searches=1, init_seed=1, truth="digits201/valid")
    second = run(tmp_path / "second", later)
    assert (second["kernels"], second["kernels_from_cache"]) == (ASKED, ASKED)
    assert second["searches"][0]["ops"] == first["searches"][1]["ops"]
    assert second["searches"][0]["seconds"] == first["searches"][1]["seconds"]
    # Another goal asks for the same supernets in the first round, then for others.
    other = dataclasses.replace(cached, searches=1, goals=("condition_number",))
    with pytest.raises(AssertionError, match="compiled"):
        run(tmp_path / "third", other)
    assert len(read_rows(tmp_path / "third" / "scores.jsonl")) >= 30
    more = dataclasses.replace(cached, num_images=9)
    with pytest.raises(AssertionError, match="compiled"):
        run(tmp_path / "fourth", more)
    assert not (tmp_path / "fourth" / "scores.jsonl").exists()


def test_a_supernet_that_fails_is_worse_than_any_other():
    values = np.array([[3.0, 1.0], [np.nan, 5.0], [1.0, 2.0]])
    np.testing.assert_array_equal(told_of(CONFIG, values), [1.5, np.nan, 1.5])
    weighted = dataclasses.replace(CONFIG, weights=(3.0, 1.0))
    np.testing.assert_array_equal(told_of(weighted, values), [1.75, np.nan, 1.25])


def test_more_convolutions_survive_where_they_are_what_counts():
    masks, blind = prune.prune(lambda masks: masks[:, :, 3].sum(axis=1).astype(float))
    assert (len(masks), blind) == (5, 0)
    np.testing.assert_array_equal(masks[-1], np.eye(5, dtype=bool)[[3] * 6])


def test_what_no_score_decided_is_no_choice():
    def late(masks):
        """Fails as long as an edge has more than three operations."""
        few = masks.sum(axis=(1, 2)) <= 18
        return np.where(few, masks[:, :, 3].sum(axis=1), np.nan)

    assert prune.prune(lambda masks: np.full(len(masks), np.nan)).blind == 4
    assert prune.prune(late).blind == 2
    path = prune.prune(late)
    entry = prune._entry(path, np.zeros(15625), {}, 90.0)
    assert entry["accuracy"] is entry["regret"] is None
    assert entry["rounds_without_score"] == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"goals": ()}, "goals"),
        ({"goals": ("trace", "trace")}, "goals"),
        ({"goals": ("kappa",)}, "goals"),
        ({"weights": (1.0,)}, "weights"),
        ({"searches": 0}, "searches"),
        ({"archs": ("000000",)}, "archs"),
        ({"tile": 4}, "tile"),
        ({"num_archs": 7}, "num_archs: got 7; leave it out"),
        ({"metrics": ("trace",)}, "metrics"),
        ({"truth": "digits201/all"}, "truth"),
        ({"num_inits": 0}, "num_inits"),
    ],
)
def test_bad_settings_are_named(changes, named):
    with pytest.raises(InputError, match=named):
        validate_prune(dataclasses.replace(CONFIG, **changes))
