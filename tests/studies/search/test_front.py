"""The front of score against FLOPs: against a double loop, and what is left out of it."""

import io

import numpy as np
from rich.console import Console

from jaxntk.results.front_plot import front_figure
from jaxntk.runs.rows import read_json
from jaxntk.studies.search.front import front_of, seen_entries
from jaxntk.studies.search.guided import run_guided_search, search_in_step
from tests.studies.search.guided import OPTIONS, Remembered, costs, searchable, worth


def uneven(archs):
    """Not monotone in what costs."""
    return np.sin(3.0 * archs[:, 0] + 1.7 * archs[:, 1]) + 1e-9 * archs[:, 1]


def test_nothing_on_the_front_is_beaten_by_anything():
    space = searchable(Remembered(uneven))
    found = search_in_step(OPTIONS, space, Console(file=io.StringIO()))
    entries = seen_entries(OPTIONS.goals, space, found)
    flat, told = found.archs.reshape(-1, 3), found.scores.reshape(-1)
    flops = costs(flat).flops
    everything = [(s, f) for s, f in zip(told, flops, strict=True) if np.isfinite(s)]
    forms = {space.scores.form(arch) for arch, s in zip(flat, told, strict=True) if np.isfinite(s)}
    # The last gene changes nothing but the cost: of twins the cheaper one counts.
    assert len({str(arch) for arch in flat}) > len(entries) == len(forms)
    assert 0 < sum(entry["front"] for entry in entries) < len(entries)
    for mine in entries:
        own = mine["score"], mine["flops"]
        beaten = any(s >= own[0] and f <= own[1] and (s, f) != own for s, f in everything)
        assert mine["front"] == (not beaten), mine
    assert [entry["flops"] for entry in entries] == sorted(entry["flops"] for entry in entries)
    scores = [entry["score"] for entry in front_of(entries)]
    assert scores == sorted(scores)


def test_counts_and_accuracies_are_those_of_the_architecture():
    space = searchable()
    found = search_in_step(OPTIONS, space, Console(file=io.StringIO()))
    for entry in seen_entries(OPTIONS.goals, space, found):
        arch = np.array([[int(gene) for gene in entry["arch"].strip("[]").split(",")]])
        assert entry["flops"] == costs(arch).flops[0]
        assert entry["params"] == costs(arch).params[0]
        assert entry["score"] == entry["accuracy"] == worth(arch)[0]


def test_a_run_writes_its_front(tmp_path):
    console = Console(file=io.StringIO())
    space = searchable(Remembered(uneven))
    run_guided_search(OPTIONS, space, lambda _: None, tmp_path, command="again", console=console)
    front = read_json(tmp_path / "summary.json")["front"]
    assert front
    header, *lines = (tmp_path / "front.csv").read_text().splitlines()
    assert header == "arch,score,flops,params,accuracy"
    assert len(lines) == len(front)
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_searches_without_a_score_have_no_front():
    space = searchable(Remembered(lambda archs: np.full(len(archs), np.nan)))
    found = search_in_step(OPTIONS, space, Console(file=io.StringIO()))
    assert seen_entries(OPTIONS.goals, space, found) == []
    assert len(front_figure([], "score", "accuracy").axes) == 1
