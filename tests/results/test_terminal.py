import json

import pytest
from rich.console import Console

from jaxntk.metrics import METRICS
from jaxntk.results.terminal import summary_table


def show(summary, width=110):
    console = Console(width=width, record=True, force_terminal=False)
    console.print(summary_table(summary))
    return console.export_text()


@pytest.fixture
def summary(make_run):
    return json.loads((make_run() / "summary.json").read_text())


def line_of(text, name):
    lines = [line.replace("│", " ") for line in text.splitlines()]
    (line,) = [line for line in lines if name in line.split()]
    return f"{line} "


def test_every_score_has_a_line_with_its_numbers(summary):
    text = show(summary)
    for name, row in summary["metrics"].items():
        line = line_of(text, name)
        low, high = (f"{bound:.2f}".replace("-", "\N{MINUS SIGN}") for bound in row["kendall_ci95"])
        assert f"{low} to {high}" in line
        assert ("higher" if METRICS[name].higher_is_better else "lower") in line
        assert f"{row['kendall']:.2f}".replace("-", "\N{MINUS SIGN}") in line
        assert f"{row['spearman']:.2f}".replace("-", "\N{MINUS SIGN}") in line
        assert f" {row['invalid']} " in line


def test_baselines_stand_below_a_rule(summary):
    lines = show(summary).splitlines()
    first = next(index for index, line in enumerate(lines) if "#params" in line)
    assert set(lines[first - 1].strip()) <= set("├─┼┤")
    assert all(f"#{name}" in "".join(lines[first:]) for name in ("params", "FLOPs", "convolutions"))
    assert not any(name in "".join(lines[first:]) for name in METRICS if name != "mean")


def test_the_source_of_the_truth_is_named(summary):
    summary["truth"]["source"] = "cifar10/test/200"
    assert "cifar10/test/200" in show(summary)


def test_a_run_without_any_ranking(make_run):
    folder = make_run(num=2, num_inits=1, all_invalid=True)
    text = show(json.loads((folder / "summary.json").read_text()))
    assert "None" not in text
    assert "nan" not in text
    assert "\N{EN DASH}" in line_of(text, "lga")


def test_brackets_in_names_are_not_markup(summary):
    summary["metrics"]["[bold]x[/red]"] = summary["metrics"]["lga"]
    assert "[bold]x[/red]" in show(summary)


def test_it_fits_a_narrow_terminal(summary):
    assert max(len(line) for line in show(summary, width=80).splitlines()) <= 80
