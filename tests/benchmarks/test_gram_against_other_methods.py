"""The comparison of the methods: kernels agree, times are shared out as said, records are whole."""

import json

import numpy as np
import pytest
from rich.console import Console

from benchmarks import gram_against_other_methods as benchmark
from benchmarks.gram_against_other_methods import (
    Options,
    main,
    summarize,
    time_cells,
    time_ordinary,
)
from benchmarks.gram_against_other_methods_cells import ORDINARY, SAME
from benchmarks.gram_against_other_methods_figure import figure, result_table

QUIET = Console(quiet=True)
TWO = ("gram", "per_example_gradients")


@pytest.fixture(autouse=True)
def this_process_stays_as_it_is(monkeypatch):
    """The benchmark confines its process to some cores; here the tests go on in it."""
    monkeypatch.setattr(benchmark, "set_up", lambda cores, platform: None)


def test_every_method_is_timed_on_an_mlp_and_they_agree():
    rows = time_ordinary(Options(case="mlp", n=4, tiny=True), QUIET)
    assert [row["method"] for row in rows] == list(benchmark.METHODS)
    for row in rows:
        assert row["relative_error"] <= 1e-4, row
        assert min(row["run_seconds"]) > 0
        assert row["compile_seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("case", ["vit_32", "vit_224"])
def test_transformers_agree(case):
    rows = time_ordinary(Options(case=case, n=3, tiny=True, methods=TWO), QUIET)
    assert all(row["relative_error"] <= 1e-4 for row in rows), rows


@pytest.mark.slow
def test_cells_agree_and_gram_compiles_once():
    rows = time_cells(Options(case="nasbench201", n=4, cells=2, tiny=True, methods=TWO), QUIET)
    assert [row["method"] for row in rows] == [*TWO, *TWO]
    assert all(row["relative_error"] <= benchmark.TOLERANCE for row in rows), rows
    compiled = [row["compile_seconds"] > 0 for row in rows if row["method"] == "gram"]
    assert compiled == [True, False]


@pytest.mark.slow
def test_the_same_function_gives_the_same_kernels_and_compiles_once():
    options = Options(
        case="nasbench201",
        n=3,
        cells=2,
        tiny=True,
        methods=("gram", "jacobian_contraction"),
        same_function=("jacobian_contraction", "per_example_gradients", "ntk_vector_products"),
        give_up=np.inf,
    )
    rows = time_cells(options, QUIET)
    same = [f"{method}, {SAME}" for method in options.same_function]
    assert [row["method"] for row in rows] == 2 * [*options.methods, *same]
    assert all(row["relative_error"] <= 1e-4 for row in rows), rows
    compiled = {name: [] for name in [*options.methods, *same]}
    for row in rows:
        compiled[row["method"]].append(row["compile_seconds"] > 0)
        assert row["network"] == (ORDINARY if row["method"] == "jacobian_contraction" else SAME)
    assert compiled.pop("jacobian_contraction") == [True, True]
    assert all(each == [True, False] for each in compiled.values())


def row(case, method, compiling, running, network=ORDINARY):
    return {
        "case": case,
        "method": method,
        "network": SAME if method == "gram" else network,
        "compile_seconds": compiling,
        "run_seconds": [running, running],
        "memory_bytes": 2**20 if compiling else None,
        "relative_error": 1e-6,
    }


ROWS = [
    row("000001", "gram", 8.0, 1.0),
    row("000001", "slow", 20.0, 5.0),
    row("000001", "other", 4.0, 2.0),
    row("000002", "gram", 0.0, 3.0),
    row("000002", "other", 4.0, 6.0),
]


def test_one_compilation_is_shared_by_all_cells():
    summary = summarize(ROWS)
    assert summary["gram"]["seconds"] == 2 + 8 / 2
    assert summary["other"]["seconds"] == 4 + 4
    assert summary["other"]["times_gram"] == pytest.approx(8 / 6)
    assert summary["other"]["times_gram_without_compile"] == 2
    # It ran on the first cell only, and is held against gram on that cell.
    assert (summary["slow"]["cases"], summary["slow"]["times_gram"]) == (1, 25 / 5)
    # A compilation that serves all cells is shared by all, also where only one was computed.
    shared = row("000001", "shared", 20.0, 5.0, network=SAME)
    assert summarize([*ROWS, shared])["shared"]["times_gram"] == (20 / 2 + 5) / 5


@pytest.mark.parametrize("rows", [ROWS, ROWS[:3]], ids=["cells", "one network"])
def test_table_and_picture_name_every_method(rows):
    summary = summarize(rows)
    table = result_table(summary, "title")
    assert list(table.columns[0].cells) == ["gram", f"slow,\n{ORDINARY}", f"other,\n{ORDINARY}"]
    drawn = figure(rows, summary, "title")
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == [f"other, {ORDINARY}", f"slow, {ORDINARY}", "gram"]
    assert len(drawn.axes) == len({row["case"] for row in rows})


def test_methods_that_take_too_long_are_left_out():
    assert benchmark._worth_going_on(ROWS[:3], 4.0, 2) == ["gram", "other"]
    assert benchmark._worth_going_on(ROWS[:3], 5.0, 2) == ["gram", "slow", "other"]
    shared = row("000001", "shared", 20.0, 5.0, network=SAME)
    assert benchmark._worth_going_on([*ROWS[:3], shared], 2.5, 2) == ["gram", "other", "shared"]


def test_the_record_has_command_machine_and_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "time_ordinary", lambda options, console: ROWS[:3])
    out = tmp_path / "new" / "result.json"
    assert main(["--case", "mlp", "--out", str(out)]) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["command"].startswith(
        "python -m benchmarks.gram_against_other_methods --case mlp"
    )
    assert record["summary"] == summarize(ROWS[:3])
    assert record["machine"]["devices"]
    assert str(tmp_path) not in json.dumps(record)
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    wrong = [ROWS[0], {**ROWS[2], "relative_error": float("nan")}]
    monkeypatch.setattr(benchmark, "time_ordinary", lambda options, console: wrong)
    assert main(["--case", "mlp", "--out", str(out)]) == 1
    assert "the kernels differ by nan" in capsys.readouterr().err


def test_without_gram_there_is_nothing_to_compare(capsys):
    assert main(["--case", "mlp", "--methods", "per_example_gradients"]) == 2
    assert capsys.readouterr().err.startswith("error: methods: got ")


@pytest.mark.parametrize(
    ("flags", "cure"),
    [
        (("--case", "mlp", "--same-function", "per_example_gradients"), "leave it out"),
        (("--case", "nasbench201", "--same-function", "gram"), "name other methods"),
    ],
)
def test_the_same_function_is_for_other_methods_on_cells(capsys, flags, cure):
    assert main([*flags]) == 2
    assert f"; {cure}" in capsys.readouterr().err
