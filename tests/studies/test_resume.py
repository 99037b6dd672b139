"""Runs that were stopped: killed, interrupted, out of space; and runs that must not go on."""

import errno
import json
import os
import shutil
import signal
import time

import pytest

from jaxntk.cli import load_experiment, main
from jaxntk.kernels import model_kernels
from jaxntk.studies import score
from tests.tiny_runs import MAIN, content, finish, numbers, one_line, process, refusal, rows

# Rows come slowly enough for a test to step in between.
SLOW = f"""
import time
from jaxntk.studies import score
append = score.append_row
def slow(path, row):
    append(path, row)
    time.sleep(1)
score.append_row = slow
{MAIN}
"""

# No file may grow beyond this from the first row on: config.json has been written.
LIMITED = f"""
import resource
from jaxntk.studies import score
missing = score.score_missing
def limited(job, path, kernel, console):
    # Drawn before: a program that is compiled is written to the cache.
    kernel().prepare(job.archs[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    missing(job, path, kernel, console)
from jaxntk.studies import rank
rank.score_missing = limited
{MAIN}
"""


def complete_rows(file):
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_for_rows(file, number, running):
    while complete_rows(file) < number:
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)


def test_killed_with_a_torn_line_and_resumed(experiment, finished, tmp_path):
    out = tmp_path / "run"
    running = process(["run", experiment, "--out", out], SLOW)
    wait_for_rows(out / "scores.jsonl", 2, running)
    running.send_signal(signal.SIGKILL)
    assert finish(running)[0] == -signal.SIGKILL
    whole = (out / "scores.jsonl").read_bytes()
    assert whole.count(b"\n") < 4
    assert not (out / "truth.jsonl").exists()
    with open(out / "scores.jsonl", "ab") as file:
        file.write(whole[: len(whole) // 3].splitlines()[0])
    assert main(["run", str(experiment), "--out", str(out)]) == 0
    assert numbers(out) == numbers(finished)
    assert (out / "scores.jsonl").read_bytes().startswith(whole)


def test_stopped_between_scoring_and_truth(experiment, finished, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "run")
    for name in ("truth.jsonl", "kernels.npz", "summary.json", "report.html"):
        (out / name).unlink()
    scores = (out / "scores.jsonl").read_bytes()
    assert main(["run", str(experiment), "--out", str(out)]) == 0
    assert numbers(out) == numbers(finished)
    assert (out / "scores.jsonl").read_bytes() == scores
    assert "complete already" not in capsys.readouterr().out


def test_the_tile_of_the_beginning_is_kept(experiment, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    begun = json.loads((out / "compilation.json").read_text())
    ((name, tile),) = begun["tiles"].items()
    assert tile == load_experiment(experiment).num_images
    (out / "compilation.json").write_text(json.dumps(begun | {"tiles": {name: 5}}))
    for file in ("kernels.npz", "scores.jsonl"):
        (out / file).unlink()
    assert main(["run", str(experiment), "--out", str(out)]) == 0
    assert json.loads((out / "compilation.json").read_text())["tiles"] == {name: 5}
    assert {row["tile"] for row in rows(out / "scores.jsonl")} == {5}
    for key, before in numbers(finished)["scores"].items():
        for name, after in numbers(out)["scores"][key].items():
            assert after["value"] == pytest.approx(before[name]["value"], rel=1e-4), (key, name)


def test_rows_that_do_not_name_their_tile_are_kept(experiment, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    file = out / "scores.jsonl"
    images = load_experiment(experiment).num_images
    old = rows(file)
    assert {row.pop("tile") for row in old} == {images}
    kept = "".join(json.dumps(row) + "\n" for row in old[:-1])
    file.write_text(kept)
    assert main(["run", str(experiment), "--out", str(out)]) == 0
    assert file.read_text().startswith(kept)
    assert rows(file)[-1]["tile"] == images
    assert numbers(out) == numbers(finished)


def test_a_finished_run_is_not_computed_again(experiment, finished, tmp_path, monkeypatch, capsys):
    out = shutil.copytree(finished, tmp_path / "run")
    before = content(out)
    monkeypatch.setattr(model_kernels, "compile_program", None)
    assert main(["run", str(experiment), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith("complete already: nothing is computed")
    after = content(out)
    for name in ("config.json", "environment.json", "scores.jsonl", "truth.jsonl", "kernels.npz"):
        assert after[name] == before[name]
    assert numbers(out) == numbers(finished)


def test_ctrl_c_says_how_to_go_on(experiment, tmp_path, capsys, monkeypatch):
    def interrupt(*_arguments, **_keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(model_kernels, "compile_program", interrupt)
    assert main(["run", str(experiment), "--out", str(tmp_path / "run")]) == 130
    err = capsys.readouterr().err
    assert err == "jaxntk: stopped; the same command goes on from here\n"
    flags = ["--data", "digits", "--batch-norm", "frozen", "--num-images", "4"]
    assert main(["score", *flags]) == 130
    assert capsys.readouterr().err == "jaxntk: stopped\n"


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (("--num-archs", "3"), "num_archs"),
        (("--init-seed", "1"), "init_seed"),
        (("--train-epochs", "2"), "train_epochs"),
        (("--metrics", "lga"), "metrics"),
    ],
)
def test_another_configuration_is_refused(experiment, finished, capsys, flags, field):
    before = content(finished)
    line = refusal(capsys, "run", experiment, "--out", finished, *flags)
    assert f"a run with {field}=" in line
    assert content(finished) == before


def test_files_may_lie_elsewhere(experiment, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    assert main(["run", str(experiment), "--out", str(out), "--data-dir", str(tmp_path)]) == 0
    assert numbers(out) == numbers(finished)


def test_results_without_a_configuration_are_refused(experiment, finished, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "config.json").unlink()
    before = content(out)
    assert "results but no config.json" in refusal(capsys, "run", experiment, "--out", out)
    assert content(out) == before


def test_disk_full_in_the_middle_of_a_row_and_resumed(
    experiment, finished, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "run"
    write, append = os.write, score.append_row

    def full(fd, data):
        if complete_rows(out / "scores.jsonl") == 2:
            write(fd, bytes(data)[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data)

    def append_to_full_disk(path, row):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            append(path, row)

    with monkeypatch.context() as patch:
        patch.setattr(score, "append_row", append_to_full_disk)
        line = refusal(capsys, "run", experiment, "--out", out)
    assert "No space left" in line
    assert "scores.jsonl" in line
    assert "free some space" in line
    assert (out / "scores.jsonl").read_bytes().endswith(b"}\n")
    assert complete_rows(out / "scores.jsonl") == 2
    assert set(content(out)) == {
        "config.json",
        "environment.json",
        "compilation.json",
        "scores.jsonl",
    }
    assert main(["run", str(experiment), "--out", str(out)]) == 0
    assert numbers(out) == numbers(finished)


def test_a_real_limit_on_the_size_of_files(experiment, table, tmp_path):
    truth = ["--truth", "cifar10/test/200", "--table", table]
    out = tmp_path / "run"
    running = process(["run", experiment, "--out", out, *truth], LIMITED)
    code, _, err = finish(running)
    assert code == 2, err
    assert "scores.jsonl cannot be written" in one_line(err)
    data = (out / "scores.jsonl").read_bytes()
    assert data == b"" or data.endswith(b"}\n")
    assert 0 < data.count(b"\n") < 4


def test_a_run_that_is_piped_away_prints_plain_lines(experiment, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    lines = (out / "scores.jsonl").read_text().splitlines(keepends=True)
    (out / "scores.jsonl").write_text("".join(lines[:2]))
    code, printed, err = finish(process(["run", experiment, "--out", out]))
    assert (code, err) == (0, "")
    assert "\x1b" not in printed
    assert "\r" not in printed
    assert printed.count("scoring") == 1
    assert f"report: {out / 'report.html'}\n" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 80
    assert numbers(out) == numbers(finished)


def test_other_data_under_the_same_name_are_refused(experiment, finished, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    row = json.loads((out / "config.json").read_text())
    assert len(row["data_sha256"]) == 64
    (out / "config.json").write_text(json.dumps({**row, "data_sha256": "0" * 64}))
    before = content(out)
    line = refusal(capsys, "run", experiment, "--out", out)
    assert "a run on other data or another table" in line
    assert content(out) == before


def test_a_run_without_a_row_is_begun_anew(experiment, finished, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in ("config.json", "environment.json"):
        shutil.copy(finished / name, out)
    assert main(["run", str(experiment), "--out", str(out), "--tile", "6"]) == 0
    assert json.loads((out / "config.json").read_text())["config"]["tile"] == 6
