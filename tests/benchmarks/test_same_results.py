"""The net under changes: what it leaves out, what it finds, and that it refuses bad input."""

import json
import shutil

import numpy as np
import pytest

from benchmarks import same_results
from benchmarks.same_results_kept import keep_files, keep_programs, kept_lines
from benchmarks.same_results_runs import REPOSITORY, RUNS
from jaxntk.cli import COMMANDS

ROWS = (
    {"ops": "421211", "seconds": 2.0, "metrics": {"lga": {"value": 0.25}}, "parts": {"ntk": 1.0}},
    {"ops": "333333", "seconds": 3.0, "metrics": {"lga": {"value": None}}, "parts": {"ntk": 2.0}},
)


def written(folder, rows=ROWS, scale=1.0, program="module @jit_step {}"):
    """A run's folder, its programs, and what is kept of both."""
    work, dumps, kept = (folder / name for name in ("work", "dumps", "kept/run"))
    (work / "cache" / ("0" * 16)).mkdir(parents=True)
    dumps.mkdir()
    lines = [json.dumps(row) + "\n" for row in rows]
    (work / "scores.jsonl").write_text("".join(lines))
    for at, line in enumerate(lines):
        (work / "cache" / ("0" * 16) / f"{at}{'f' * 31}.jsonl").write_text(line)
    (work / "summary.json").write_text(json.dumps({"mean": scale, "memory": {"peak": 3}}))
    (work / "table.csv").write_text(f"ops,seconds,lga\n421211,2.0,{scale}\n")
    (work / "report.html").write_text(str(np.random.default_rng().random()))
    np.savez(work / "kernels.npz", gram=scale * np.eye(3), seconds=np.random.default_rng().random())
    (dumps / "jax_ir0003_jit_step_compile.mlir").write_text(program)
    keep_files(work, kept, lambda line: line.replace(str(folder), "WORK"))
    keep_programs(dumps, kept)
    return folder / "kept"


@pytest.fixture
def kept(tmp_path):
    return written(tmp_path / "one")


def test_what_is_measured_is_left_out(kept):
    rows = (kept / "run/files/scores.jsonl.txt").read_text().splitlines()
    assert rows == [
        "row 0.metrics.lga.value = 0.25",
        'row 0.ops = "421211"',
        "row 1.metrics.lga.value = null",
        'row 1.ops = "333333"',
    ]
    assert (kept / "run/files/summary.json.txt").read_text() == "mean = 1.0\n"
    table = (kept / "run/files/table.csv.txt").read_text()
    assert table == '["ops", "lga"]\n["421211", "1.0"]\n'
    arrays = (kept / "run/files/kernels.npz.txt").read_text().splitlines()
    assert [line.split()[0] for line in arrays] == ["gram"]


def test_files_of_a_cache_are_read_as_one(kept):
    cached = kept / "run/files/cache/HEX/HEX.jsonl.txt"
    assert cached.read_text() == (kept / "run/files/scores.jsonl.txt").read_text()


def test_of_pictures_only_the_name_is_kept(kept):
    assert "report.html" in (kept / "run/files.txt").read_text().splitlines()
    assert not (kept / "run/files/report.html.txt").exists()


def test_the_order_of_rows_and_what_is_measured_make_no_difference(tmp_path, kept, capsys):
    rows = [{**row, "seconds": 7.0} for row in reversed(ROWS)]
    other = written(tmp_path / "two", rows)
    assert same_results.main(["--compare", str(kept), str(other)]) == 0
    assert capsys.readouterr().out == "run: equal\n0 of 1 runs differ\n"


def test_the_last_bit_is_a_difference(tmp_path, kept, capsys):
    value = np.nextafter(0.25, 1.0)
    rows = [{**ROWS[0], "metrics": {"lga": {"value": value}}}, ROWS[1]]
    other = written(tmp_path / "two", rows)
    assert same_results.main(["--compare", str(kept), str(other)]) == 1
    place = "files/cache/HEX/HEX.jsonl.txt, line 1: row 0.metrics.lga.value = 0.25 | row 0."
    assert f"run: DIFFERS: {place}metrics.lga.value = {value}\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["kernels.npz", "table.csv", "summary.json"])
def test_other_numbers_are_a_difference(tmp_path, kept, name):
    other = written(tmp_path / "two", scale=1.0 + 2**-52)
    for file in ("kernels.npz", "table.csv", "summary.json"):
        if file != name:
            path = f"run/files/{file}.txt"
            shutil.copy(kept / path, other / path)
    assert same_results.main(["--compare", str(kept), str(other)]) == 1


def test_a_missing_file_is_a_difference(tmp_path, kept, capsys):
    other = written(tmp_path / "two")
    (other / "run/files/table.csv.txt").unlink()
    assert same_results.main(["--compare", str(kept), str(other)]) == 1
    assert "table.csv.txt, in the first only" in capsys.readouterr().out


def test_other_programs_are_told_apart_from_other_results(tmp_path, kept, capsys):
    other = written(tmp_path / "two", program="module @jit_step { another }")
    assert same_results.main(["--compare", str(kept), str(other)]) == 0
    assert "run: equal\n    programs: 1 of 1 gone, 1 new: jit_step\n" in capsys.readouterr().out


def test_a_run_that_is_not_there_is_a_difference(tmp_path, kept, capsys):
    (tmp_path / "nothing").mkdir()
    assert same_results.main(["--compare", str(kept), str(tmp_path / "nothing")]) == 1
    assert "run: DIFFERS: " in capsys.readouterr().out


def test_empty_tables_are_read(tmp_path):
    (tmp_path / "front.csv").write_text("")
    assert kept_lines([tmp_path / "front.csv"]) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "out: got nothing; give --out, --base or --compare"),
        (["--nope"], "--nope"),
        (["--out", "there"], "out: got there; give a new or an empty folder"),
        (["--out", "new", "--only", "rank_bath"], "did you mean 'rank_batch'"),
        (["--out", "new", "--jobs", "0"], "jobs: got 0"),
        (["--compare", "nowhere", "there"], "compare: got nowhere, which is no folder"),
        (["--compare", "there", "there", "--only", "rank_batch"], "only: got 'rank_batch'"),
        (["--compare", "there", "there", "--base", "HEAD"], "give --compare alone"),
        (["--base", "nowhere"], "base: got nowhere; give a commit"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    assert same_results.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert not (tmp_path / "new").exists()


def test_every_command_and_experiment_has_a_run():
    lines = [step.words for steps in RUNS.values() for step in steps if not step.code]
    # These two need files of others.
    commands = set(COMMANDS) - {"verify", "import-nasbench201"}
    assert {line.split()[1] for line in lines if line.startswith("jaxntk ")} == commands
    for path in (REPOSITORY / "experiments").glob("*.py"):
        if "__main__" in path.read_text():
            assert any(f"experiments/{path.name}" in line for line in lines), path


@pytest.mark.slow
def test_the_working_tree_is_equal_to_itself(tmp_path, capfd):
    for name in ("one", "two"):
        only = ["--only", "search_tables", "shards"]
        assert same_results.main(["--out", str(tmp_path / name), *only]) == 0
    assert same_results.main(["--compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    out = capfd.readouterr().out
    assert "search_tables: equal\nshards: equal\n0 of 2 runs differ\n" in out
