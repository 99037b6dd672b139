"""What guided searches are told and choose, with scores that cost nothing."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.runs import run_folder
from jaxntk.runs.row_store import RowStore
from jaxntk.runs.rows import append_row, read_json, write_json_atomic
from jaxntk.studies.search import guided
from jaxntk.studies.search.guided import (
    HISTORY,
    choices_of,
    run_guided_search,
    search_in_step,
    told_of,
)
from jaxntk.studies.search.options import ALGORITHMS, check_search
from jaxntk.studies.search.searchable import keeps_limits
from tests.studies.search.guided import EVERYTHING, OPTIONS, Remembered, costs, searchable, worth


def searched(options=OPTIONS, space=None):
    return search_in_step(options, space or searchable(), Console(file=io.StringIO()))


def run(out, options=OPTIONS, space=None):
    console = Console(file=io.StringIO(), width=140)
    summary = run_guided_search(
        options, space or searchable(), lambda _: None, out, command="again", console=console
    )
    return summary, console.file.getvalue()


def test_failures_have_no_rank():
    options = dataclasses.replace(OPTIONS, goals=("a", "b"), weights=(1.0, 3.0))
    reference = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 6.0]])
    told = told_of(options, np.array([[2.5, 7.0], [np.nan, 7.0], [0.0, 5.5]]), reference)
    assert told[0] == pytest.approx((200 / 3 + 3 * 100) / 4)
    assert np.isnan(told[1])
    assert told[2] == pytest.approx((0 + 3 * 200 / 3) / 4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_asked_is_told_and_paid_once(algorithm):
    found = searched(dataclasses.replace(OPTIONS, algorithm=algorithm))
    assert found.archs.shape == (3, 12, 3)
    flat = found.archs.reshape(-1, 3)
    wanted = np.where(flat[:, 1] == 3, np.nan, worth(flat))
    np.testing.assert_array_equal(found.scores.reshape(-1), wanted)
    for archs, seconds in zip(found.archs, found.seconds, strict=True):
        distinct = {tuple(arch[:2].tolist()) for arch in archs}
        assert seconds.sum() == sum(1 + first for first, _ in distinct)
    assert found.reference_seconds == 0


def test_choices_are_the_best_so_far():
    archs = np.array([[0, 3, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1], [2, 2, 0]], np.int32)
    told = np.array([np.nan, 4.0, 1.0, 4.0, 9.0])
    space = searchable()
    found, looked = choices_of(archs, told, space, 1)
    np.testing.assert_array_equal(found, archs[[0, 1, 1, 1, 4]])
    np.testing.assert_array_equal(looked, [0] * 5)
    disliked = dataclasses.replace(space, select=lambda few: -worth(few))
    found, looked = choices_of(archs, told, disliked, 2)
    # Of the two best functions the worse one, of what failed none; number 3 is as number 1.
    np.testing.assert_array_equal(found, archs[[0, 1, 2, 2, 1]])
    np.testing.assert_array_equal(looked, [1, 1, 2, 2, 2])


def test_of_a_last_generation_only_what_is_asked_for_is_scored():
    options = dataclasses.replace(OPTIONS, algorithm="genetic", population=5, evaluations=12)
    scores = Remembered(worth)
    found = searched(options, searchable(scores))
    assert sum(scores.known.values()) == 3 * 12
    longer = searched(dataclasses.replace(options, evaluations=15))
    np.testing.assert_array_equal(found.archs, longer.archs[:, :12])
    np.testing.assert_array_equal(found.seconds, longer.seconds[:, :12])


def test_several_goals_pay_for_their_reference():
    options = dataclasses.replace(OPTIONS, goals=("a", "b"), reference=5)
    found = searched(options, searchable(Remembered(worth, lambda archs: -worth(archs))))
    assert found.reference_seconds > 0
    # Opposite goals of equal weight leave nothing to choose.
    valid = found.scores[np.isfinite(found.scores)]
    assert np.ptp(valid) <= 100 / 5, valid


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_search_draws_what_the_reference_draws(algorithm):
    """Else one would be ranked among its own first architectures, and pay nothing for them."""
    asked = []

    def noted(archs):
        asked.append(np.asarray(archs))
        return worth(archs)

    options = dataclasses.replace(
        OPTIONS, goals=("a", "b"), algorithm=algorithm, reference=12, population=12, searches=4
    )
    found = searched(options, searchable(Remembered(noted, worth)))
    for number, archs in enumerate(found.archs):
        assert not np.array_equal(archs[:12], asked[0][:12]), number


def test_a_search_without_a_score_is_not_in_the_mean(tmp_path):
    """The second of three finds failures only."""

    def fails(archs):
        values = worth(archs)
        values[1::3] = np.nan
        return values

    options = dataclasses.replace(OPTIONS, algorithm="random", evaluations=1)
    for truth in (worth, None):
        space = searchable(Remembered(fails), truth=truth, of="accuracy" if truth else "score")
        summary, shown = run(tmp_path / str(truth is None), options, space)
        entries = summary["searches"]
        assert entries[1]["score"] is None
        kept = [e["score"] for e in entries if e["score"] is not None]
        assert 0 < len(kept) < 3
        assert f"{3 - len(kept)} of 3 searches found no valid score" in shown
        assert summary["mean"] == pytest.approx(np.mean(kept))


class Stored(Remembered):
    """Scores on disk, whose writing can end in the middle of a line."""

    def __init__(self, out, dies_at=None):
        super().__init__(worth)
        self.store, self.file = RowStore(out, ("arch",)), out / "scores.jsonl"
        self.left = dies_at

    def resume(self):
        self.store.read()

    def __call__(self, archs):
        for arch in archs:
            if (self.form(arch),) not in self.store.rows:
                if self.left == 0:
                    with self.file.open("ab") as stream:
                        stream.write(b'{"arch": "[')
                    raise Killed
                self.left = None if self.left is None else self.left - 1
                self.store.add({"arch": self.form(arch), "score": float(worth(arch[None])[0])})
        known = [self.store.rows[(self.form(arch),)]["score"] for arch in archs]
        return np.where(archs[:, 1] == 3, np.nan, known)[:, None]


class Killed(Exception):
    pass


@pytest.mark.parametrize("algorithm", ["evolution", "genetic"])
def test_a_search_killed_twenty_times_ends_with_the_same_history(algorithm, tmp_path):
    options = dataclasses.replace(OPTIONS, algorithm=algorithm, evaluations=20)
    wanted = searched(options)
    rng, deaths = np.random.default_rng(0), 0

    def resumed(dies_at=None):
        scores = Stored(tmp_path, dies_at)
        scores.resume()
        return searched(options, searchable(scores))

    while deaths < 20:
        try:
            resumed(int(rng.integers(0, 2)))
        except Killed:
            deaths += 1
        else:
            # Its disk was lost: what was scored is scored again.
            (tmp_path / "scores.jsonl").unlink()
    found = resumed()
    np.testing.assert_array_equal(found.archs, wanted.archs)
    np.testing.assert_array_equal(found.scores, wanted.scores)


def test_another_configuration_is_refused_without_rows_too(tmp_path):
    run(tmp_path / "run")
    before = (tmp_path / "run" / "summary.json").read_bytes()
    with pytest.raises(InputError, match="a run with evaluations=12 where 13 is asked"):
        run(tmp_path / "run", dataclasses.replace(OPTIONS, evaluations=13))
    assert (tmp_path / "run" / "summary.json").read_bytes() == before


def test_each_of_several_processes_refuses_rows_of_another_configuration(tmp_path, monkeypatch):
    """Their rows lie below the folder of the run, which then looks as if it had none."""
    own = tmp_path / "process-02-of-02"
    monkeypatch.setattr(guided, "own_folder", lambda _: own)
    records = [
        run_folder.Record(
            experiment="guided",
            command="again",
            config=dataclasses.replace(OPTIONS, search_seed=seed),
            data_sha256="0" * 64,
        )
        for seed in (0, 1)
    ]

    def begun(record):
        guided._open(tmp_path, record, lambda _: None, finished=False)

    begun(records[0])
    begun(records[1])
    append_row(own / "scores.jsonl", {"arch": "[0, 0]"})
    begun(records[1])
    with pytest.raises(InputError, match="a run with search_seed=1 where 0 is asked"):
        begun(records[0])
    assert read_json(tmp_path / "config.json")["config"]["search_seed"] == 1


def test_a_folder_of_another_experiment_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    write_json_atomic(tmp_path / "run" / "summary.json", {"experiment": "compare_searches"})
    with pytest.raises(InputError, match="which holds compare_searches where guided is asked"):
        run(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["summary.json"]


def test_single_goals_of_several_are_written_down(tmp_path):
    options = dataclasses.replace(OPTIONS, goals=("sum", "first"), reference=5)
    space = searchable(Remembered(worth, lambda archs: archs[:, 0]))
    summary, shown = run(tmp_path / "run", options, space)
    assert "percentiles" in shown
    for entry in summary["searches"]:
        assert entry["sum"] == entry["accuracy"]
    for entry in summary["front"]:
        arch = [int(gene) for gene in entry["arch"].strip("[]").split(",")]
        assert entry["first"] == arch[0]
        assert entry["sum"] == entry["accuracy"]
    assert (tmp_path / "run" / "search.csv").read_text().startswith("arch,score,sum,first,")


def test_a_summary_and_its_files(tmp_path):
    summary, shown = run(tmp_path / "run")
    assert summary["levels"]["best_there_is"] == worth(EVERYTHING).max()
    assert summary["levels"]["random"] == pytest.approx(worth(EVERYTHING).mean())
    for entry in summary["searches"]:
        assert entry["regret"] == summary["levels"]["best_there_is"] - entry["accuracy"]
        assert entry["accuracy"] == entry["score"]
        assert 0 <= entry["failed"] < 12
    assert summary["mean"] == pytest.approx(np.mean([e["accuracy"] for e in summary["searches"]]))
    assert "largest (#params) of as many random ones" in shown.replace("\n", " ")
    with np.load(tmp_path / "run" / HISTORY) as file:
        assert file["archs"].shape == (3, 12, 3)
    for picture in ("search.png", "best.png"):
        assert (tmp_path / "run" / picture).read_bytes().startswith(b"\x89PNG")


def test_a_search_that_is_repeated_says_that_it_was_complete(tmp_path):
    space = searchable()
    _, first = run(tmp_path / "run", space=space)
    _, second = run(tmp_path / "run", space=space)
    _, other = run(tmp_path / "run")
    said = [
        shown.count("complete already: nothing is computed") for shown in (first, second, other)
    ]
    assert said == [0, 1, 0]


def test_nothing_is_said_of_accuracy_where_none_is_known(tmp_path):
    space = searchable(of="score", truth=None, everything=None)
    summary, _ = run(tmp_path / "run", space=space)
    assert summary["levels"] == {}
    assert all("accuracy" not in entry for entry in summary["searches"])
    found = searched()
    assert summary["mean"] == pytest.approx(np.nanmax(found.scores, axis=1).mean())


def test_searches_that_only_fail_say_so(tmp_path):
    space = searchable(Remembered(lambda archs: np.full(len(archs), np.nan)), truth=None)
    summary, shown = run(tmp_path / "run", space=space)
    assert summary["mean"] is None
    assert "no search found a valid score" in shown
    assert "36 of 36 scores failed" in shown
    assert summary["searches"][0]["failed"] == 12
    assert read_json(tmp_path / "run" / "summary.json")["searches"][0]["score"] is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("limit", [{"max_params": 12}, {"max_flops": 1150}])
def test_limits_are_never_violated(algorithm, limit):
    options = dataclasses.replace(OPTIONS, algorithm=algorithm, evaluations=40, **limit)
    found = searched(options, searchable(options=options))
    assert keeps_limits(found.archs.reshape(-1, 3), costs, options).all()
    assert len(np.unique(found.archs.reshape(-1, 3), axis=0)) > 3


def test_an_impossible_limit_is_refused():
    with pytest.raises(InputError, match="max_params: got 9; give at least 10, the fewest"):
        searchable(options=dataclasses.replace(OPTIONS, max_params=9))
    with pytest.raises(InputError, match="max_flops: got 900; give at least 1,000"):
        searchable(options=dataclasses.replace(OPTIONS, max_flops=900))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": (1.0, 2.0)}, "weights: got"),
        ({"weights": (float("nan"),)}, "weights: got"),
        ({"evaluations": 0}, "evaluations: got 0"),
        ({"max_params": 0}, "max_params: got 0"),
        ({"sample": 5}, "sample: got 5; give at most the population, 4"),
        ({"finalists": 13, "select": "x"}, "finalists: got 13; give at most the evaluations, 12"),
        ({"finalists": 3}, "select: got None"),
        ({"select": "digits201/valid"}, "finalists: got 1"),
    ],
)
def test_bad_options_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        check_search(dataclasses.replace(OPTIONS, **changes), ("score",))


def test_the_best_choice_is_the_best_by_what_chooses(tmp_path):
    """Of finalists an accuracy chooses; the best of these choices is drawn, and it is said."""
    drawn = []

    def draw(arch, title):
        drawn.append((arch, title))
        return searchable().draw(arch, title)

    options = dataclasses.replace(OPTIONS, select="another/valid", finalists=4)
    space = searchable(select=lambda archs: -worth(archs), draw=draw)
    summary, shown = run(tmp_path / "run", options, space)
    ((arch, title),) = drawn
    assert title.startswith("that of the best another/valid")
    assert worth(arch[None])[0] == min(entry["accuracy"] for entry in summary["searches"])
    said = " ".join(shown.split())
    assert "the best of 4 by another/valid is chosen; seconds are without what that takes" in said
