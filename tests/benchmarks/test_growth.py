"""The growth of time and memory: one quantity at a time, slow methods leave."""

import json

import pytest

from benchmarks import growth
from benchmarks.growth import BASE, figure


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(growth, "set_up", lambda cores, platform: None)
    monkeypatch.setattr(growth, "METHODS", ("gram", "per_example_gradients"))
    monkeypatch.setattr(growth, "BASE", {"n": 3, "outputs": 2, "width": 4})
    monkeypatch.setattr(growth, "VARIED", {"n": (2, 4), "outputs": (1, 2), "width": (4, 2048)})


@pytest.mark.parametrize(("give_up", "last"), [(60.0, 2), (0.0, 0)])
def test_one_quantity_at_a_time(small, tmp_path, give_up, last):
    out = tmp_path / "growth.json"
    assert growth.main(["--give-up", str(give_up), "--out", str(out)]) == 0
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    points = [(row["quantity"], row["n"], row["outputs"], row["width"]) for row in rows]
    first, second = ("n", 2, 2, 4), ("n", 4, 2, 4)
    assert points.count(first) == 2
    assert points.count(second) == last
    assert ("outputs", 3, 1, 4) in points
    assert all(row["width"] <= 1024 for row in rows)
    assert all(row["seconds"] > 0 for row in rows)
    assert out.with_suffix(".png").is_file()


def test_a_method_is_drawn_as_far_as_it_went():
    rows = [
        {**BASE, "quantity": quantity, "method": method, "seconds": 1.0, "memory_bytes": 2**20}
        | {quantity: value}
        for quantity, values in growth.VARIED.items()
        for value in values
        for method in growth.METHODS
        if (method, value) != ("structured_derivatives", values[-1])
    ]
    axes = figure(rows).axes
    assert len(axes) == 6
    for ax in axes:
        drawn = {line.get_label(): len(line.get_xdata()) for line in ax.lines}
        assert drawn["structured_derivatives"] == drawn["gram"] - 1


def test_bad_input_is_told_in_one_line(capsys):
    assert growth.main(["--cores", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: cores: got 0;")
