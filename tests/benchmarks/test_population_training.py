"""What the benchmark of population training reports is what its times say."""

import json

import pytest

from benchmarks import population_training
from benchmarks.population_training import figure, summarize

ROWS = [
    {
        "ops": "333333",
        "population_seconds": 1.0,
        "separate_compile_seconds": 8.0,
        "separate_seconds": 2.0,
        "relative_error": 1e-6,
        "relative_rounding": 2e-6,
    },
    {
        "ops": "000000",
        "population_seconds": 3.0,
        "separate_compile_seconds": 4.0,
        "separate_seconds": 6.0,
        "relative_error": 1e-5,
        "relative_rounding": 3e-6,
    },
]
MEASURED = {"population_compile_seconds": 6.0, "steps": 15, "rows": ROWS}


def test_ratios_are_those_of_the_sums():
    summary = summarize(MEASURED)
    assert summary["ratio"] == pytest.approx(10 / 20)
    assert summary["ratio_without_compile"] == pytest.approx(4 / 8)
    assert summary["largest_relative_error"] == 1e-5
    assert summary["largest_relative_rounding"] == 3e-6


def test_weights_that_differ_by_more_than_rounding_are_refused(monkeypatch, tmp_path, capsys):
    far = {**MEASURED, "rows": [ROWS[0] | {"relative_error": 1e-3}, ROWS[1]]}
    monkeypatch.setattr(population_training, "set_up", lambda cores: None)
    monkeypatch.setattr(population_training, "measure", lambda options, console: far)
    out = tmp_path / "training.json"
    assert population_training.main(["--out", str(out)]) == 1
    assert "333333" in capsys.readouterr().err
    assert not out.exists()


def test_the_picture_ends_at_the_whole_times():
    (ax,) = figure(MEASURED).axes
    assert [line.get_ydata()[-1] for line in ax.lines] == [20, 10]


@pytest.mark.slow
def test_a_run_writes_times_of_weights_that_agree(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(population_training, "set_up", lambda cores: None)
    out = tmp_path / "training.json"
    arguments = ["--cells", "2", "--channels", "2", "--batch-size", "256", "--out", str(out)]
    assert population_training.main(arguments) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert len(record["rows"]) == 2
    assert record["steps"] == 3
    assert f"{record['summary']['ratio']:.3g}" in capsys.readouterr().out
    assert out.with_suffix(".png").is_file()


def test_bad_input_is_told_in_one_line(capsys):
    assert population_training.main(["--cores", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: cores: got 0;")
