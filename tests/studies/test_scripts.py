"""Experiments with a command line of their own refuse bad input in one line and write nothing."""

import runpy
import sys

import pytest

from tests.conftest import REPOSITORY


def script(name, *arguments):
    """Runs a script as its command does; returns the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPOSITORY / "experiments" / f"{name}.py"), run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        ("over_epochs", ("digits201", "--num-archs", "1"), "archs"),
        ("over_epochs", ("digits201", "--recipe", "sgd"), "recipe"),
        ("over_epochs", ("digits201", "--batch-size", "2000"), "batch_size"),
        ("over_epochs", ("cifar10", "--data-dir", "nowhere"), "nowhere"),
        ("kernel_dynamics", ("digits201", "--epochs", "2", "1"), "epochs"),
        ("kernel_dynamics", ("digits201", "--truth", "digits201/all"), "truth"),
        ("digits201", ("--shard", "3/2"), "shard"),
        ("digits201", ("--limit", "0"), "limit"),
        ("over_epochs", ("digits201", "--seed", "3000000000"), "seed"),
        ("digits_vit", ("--limit", "0"), "limit"),
        ("search_cells", ("evolution-centred", "--goals", "loss"), "goals"),
        ("search_cells", ("random-lga3", "--evaluations", "0"), "evaluations"),
        ("compare_searches", ("--runs", "nowhere"), "nowhere"),
        ("compare_searches", (), "--runs: got nothing"),
        ("prune_supernet", ("condition", "--nope", "1"), "--nope"),
        ("prune_supernet", ("condition", "--archs", "421211"), "--archs"),
        ("search_cells", ("random-lga3", "--epochs", "3"), "--epochs"),
        ("search_tables", ("digits201", "--select", "digits201/vaild"), "select: got"),
        ("search_tables", ("--searches", "3"), "preset: got none; begin with one of digits201"),
        (
            "search_cells",
            ("random-lga3", "--evaluations", "few"),
            "--evaluations: got 'few'; give a whole number; see",
        ),
        ("digits201", ("--nope", "1"), "--nope"),
        ("prune_supernet", ("condition", "--goals", "kappa"), "goals"),
        ("search_vits", ("genetic-vintk", "--goals", "convolutions"), "goals"),
        (
            "search_vits",
            ("genetic-vintk", "--goals", "lga@vintk"),
            "goals: got lga@vintk; name a kernel",
        ),
        ("frequency_bias", ("digits", "--side", "15"), "side"),
        ("vintk_vitbench101", ("--num-images", "3"), "num_images"),
    ],
)
def test_bad_input_is_one_line(name, arguments, named, tmp_path, capsys):
    out = tmp_path / "run"
    assert script(name, *arguments, "--out", out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "preset"), [("search_cells", "evolution-centred"), ("prune_supernet", "condition")]
)
def test_help_does_not_list_what_is_refused(name, preset, capsys):
    assert script(name, preset, "--help") == 0
    shown = capsys.readouterr().out
    assert "--num-images" in shown
    for flag in ("--archs", "--num-archs", "--arch-seed", "--metrics"):
        assert flag not in shown


def test_a_table_is_packed_only_when_every_function_is_trained(tmp_path, capsys):
    table = tmp_path / "table.npz"
    (tmp_path / "all.jsonl").write_text("", encoding="utf-8")
    assert script("digits201", "--out", tmp_path, "--table", table) == 2
    assert "trainings" in capsys.readouterr().err
    assert not table.exists()
