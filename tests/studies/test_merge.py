"""Shards of a run: merged they are the run in one piece; what does not fit together is refused."""

import json
import re
import shutil

import numpy as np
import pytest

from jaxntk.cli import main
from jaxntk.kernels import model_kernels
from jaxntk.runs.finished import load_run
from jaxntk.studies import merge as merge_module
from tests.tiny_runs import content, numbers, refusal, rows

# Whole runs, each of which compiles anew: minutes on two cores.
pytestmark = pytest.mark.slow

COUNT = 3
SHARD_FILES = {
    "config.json",
    "environment.json",
    "compilation.json",
    "scores.jsonl",
    "truth.jsonl",
    "kernels.npz",
    "finished.json",
}


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def command(experiment, table):
    """What the run and its shards are started with, but for the folder."""
    truth = ("--truth", "cifar10/test/200", "--table", table)
    return ("run", experiment, *truth, "--num-inits", 2, "--init-seed", 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, command):
    """The folder of the run in one piece; not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(*command, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def sharded(tmp_path_factory, command):
    """The folder of the run in three shards, none of them merged; not to be changed."""
    out = tmp_path_factory.mktemp("sharded") / "run"
    for index in (2, 1, 3):
        assert run(*command, "--out", out, "--shard", f"{index}/{COUNT}") == 0
    return out


@pytest.fixture
def shards(sharded, tmp_path):
    """A copy of it."""
    return shutil.copytree(sharded, tmp_path / "shards")


def shard(out, index):
    return out / f"shard-0{index}-of-0{COUNT}"


def edit(file, **changes):
    """Changes fields of a JSON file; those of the configuration go into it."""
    row = json.loads(file.read_text())
    for name, value in changes.items():
        (row["config"] if name in row.get("config", {}) else row)[name] = value
    file.write_text(json.dumps(row))


def untimed(found):
    """Rows without what differs from run to run."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def assert_same_run(merged, whole):
    """Row for row, in the same order; number for number in the summary; the same kernels."""
    for name in ("scores.jsonl", "truth.jsonl"):
        assert untimed(rows(merged / name)) == untimed(rows(whole / name)), name
    ours, theirs = ({**numbers(folder), "compilations": 0} for folder in (merged, whole))
    assert ours == theirs
    with np.load(merged / "kernels.npz") as one, np.load(whole / "kernels.npz") as other:
        assert set(one) == set(other)
        for name in other:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_shard_writes_its_own_folder_only(sharded):
    expected = {f"{shard(sharded, i).name}/{name}" for i in (1, 2, 3) for name in SHARD_FILES}
    assert set(content(sharded)) == expected


def test_shards_have_the_rows_of_the_unsharded_run(sharded, whole):
    scores = untimed(rows(whole / "scores.jsonl"))
    first, second = scores[: len(scores) // 2], scores[len(scores) // 2 :]
    for index in range(1, COUNT + 1):
        found = untimed(rows(shard(sharded, index) / "scores.jsonl"))
        assert found == [*first[index - 1 :: COUNT], *second[index - 1 :: COUNT]]


def test_a_merged_run_is_the_unsharded_run(shards, whole, monkeypatch, capsys):
    before = content(shards)
    monkeypatch.setattr(model_kernels, "compile_program", None)
    assert run("merge", shards) == 0
    printed = capsys.readouterr().out
    assert "rank correlation with accuracy" in printed
    assert f"report: {shards / 'report.html'}\n" in printed
    assert_same_run(shards, whole)
    load_run(shards)
    assert {name: data for name, data in content(shards).items() if name in before} == before
    merged, plain = (json.loads((f / "config.json").read_text()) for f in (shards, whole))
    assert merged == {**plain, "command": f"jaxntk merge {shards}", "merged": COUNT}


def test_costs_are_added_up(shards):
    assert run("merge", shards) == 0
    summary = json.loads((shards / "summary.json").read_text())
    costs = [
        json.loads((shard(shards, i) / "finished.json").read_text())["cost"] for i in (1, 2, 3)
    ]
    assert summary["compilations"] == COUNT
    assert summary["seconds"]["total"] == pytest.approx(sum(c["total_seconds"] for c in costs))
    assert summary["memory"]["peak_rss_bytes"] == max(cost["peak_rss_bytes"] for cost in costs)


def test_a_merge_is_repeatable(shards):
    assert run("merge", shards) == 0
    before = content(shards)
    assert run("merge", shards) == 0
    assert content(shards) == before


@pytest.mark.parametrize("stopped_in", ["write_rows_atomic", "write_bytes_atomic", "publish"])
def test_a_merge_that_was_stopped_is_done_again(shards, whole, monkeypatch, stopped_in):
    def stop(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merge_module, stopped_in, stop)
        assert run("merge", shards) == 130
    assert not (shards / "summary.json").exists()
    assert run("merge", shards) == 0
    assert_same_run(shards, whole)


def test_shards_of_several_machines(shards, whole, tmp_path):
    first, second, out = (tmp_path / name for name in ("first", "second", "out"))
    for folder, index in ((first, 2), (second, 1), (second, 3)):
        shutil.copytree(shard(shards, index), folder / shard(shards, index).name)
    assert run("merge", first, second, "--out", out) == 0
    assert_same_run(out, whole)
    assert set(content(first)) == {f"{shard(shards, 2).name}/{name}" for name in SHARD_FILES}
    # The same by the folders of the shards themselves, whatever their names.
    shard(second, 3).rename(second / "third")
    named = (shard(second, 1), shard(first, 2), second / "third")
    assert run("merge", *named) == 0
    assert_same_run(second, whole)


def test_a_merged_run_elsewhere_is_a_run_like_any_other(
    shards, whole, command, tmp_path, monkeypatch
):
    out = tmp_path / "merged"
    assert run("merge", shards, "--out", out) == 0
    monkeypatch.setattr(model_kernels, "compile_program", None)
    assert run("correlate", out, "--truth", "own") == 0
    assert run(*command, "--out", out) == 0
    assert_same_run(out, whole)


def test_rows_are_ordered_by_initialisation_first(shards):
    assert run("merge", shards) == 0
    assert [row["init_seed"] for row in rows(shards / "scores.jsonl")] == [3] * 4 + [4] * 4


def test_training_a_shard_gives_the_accuracies_of_the_whole(experiment, finished, tmp_path):
    assert run("run", experiment, "--out", tmp_path, "--shard=2/3") == 0
    expected = untimed(rows(finished / "truth.jsonl"))[1::COUNT]
    assert untimed(rows(shard(tmp_path, 2) / "truth.jsonl")) == expected


def test_a_shard_that_was_stopped_is_told_and_goes_on(shards, whole, command, capsys):
    for name in ("scores.jsonl", "truth.jsonl", "kernels.npz", "finished.json"):
        (shard(shards, 1) / name).unlink()
    first = (whole / "scores.jsonl").read_text().splitlines(keepends=True)[0]
    (shard(shards, 1) / "scores.jsonl").write_text(first + '{"torn')
    line = refusal(capsys, "merge", shards)
    assert "shard 1/3 unfinished (1 of 6 rows) of tiny; run what is missing first: " in line
    assert line.endswith(" --shard 1/3")
    assert run(*command, "--out", shards, "--shard", "1/3") == 0
    assert (shard(shards, 1) / "scores.jsonl").read_text().startswith(first)
    assert run("merge", shards) == 0
    assert_same_run(shards, whole)


@pytest.mark.parametrize("name", ["kernels.npz", "finished.json"])
def test_rows_alone_do_not_finish_a_shard(shards, name, capsys):
    (shard(shards, 2) / name).unlink()
    assert "shard 2/3 unfinished (3 of 3 rows)" in refusal(capsys, "merge", shards)


def test_missing_shards_are_named(shards, sharded, capsys):
    shutil.rmtree(shard(shards, 3))
    (shard(shards, 2) / "config.json").unlink()
    before = content(shards)
    line = refusal(capsys, "merge", shards)
    first = json.loads((shard(sharded, 1) / "config.json").read_text())["command"]
    other = first.replace("--shard 1/3", "--shard 2/3")
    assert f"got no shard 2/3, 3/3 of tiny; run what is missing first: {other}" in line
    assert content(shards) == before


def test_many_missing_shards_are_counted(shards, capsys):
    for index in (1, 3):
        shutil.rmtree(shard(shards, index))
    edit(shard(shards, 2) / "config.json", num_archs=40, shard="2/40")
    line = refusal(capsys, "merge", shards)
    assert "got no shard 1/40, 3/40, 4/40, 5/40, 6/40, 7/40, 8/40, 9/40, 31 more of tiny" in line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_images": 8}, "with num_images=8, where .* has 12"),
        ({"experiment": "other"}, "with experiment='other', where .* has 'tiny'"),
        ({"data_sha256": "0" * 64}, "with data_sha256='00000000', where"),
        ({"shard": "3/4"}, "with shards=4, where .* has 3"),
        ({"shard": "2/3"}, "shard 2/3 twice, in .*02-of-03 and .*03-of-03"),
    ],
)
def test_shards_of_different_runs_are_refused(shards, changes, told, capsys):
    edit(shard(shards, 3) / "config.json", **changes)
    before = content(shards)
    line = refusal(capsys, "merge", shards)
    assert re.search(told, line), line
    assert content(shards) == before


def test_where_files_lie_does_not_matter(shards):
    edit(shard(shards, 3) / "config.json", data_dir="elsewhere", command="jaxntk run elsewhere")
    assert run("merge", shards) == 0


@pytest.mark.parametrize("name", ["scores.jsonl", "truth.jsonl"])
def test_a_row_twice_is_refused(shards, name, capsys):
    file = shard(shards, 1) / name
    file.write_text(file.read_text() + file.read_text().splitlines(keepends=True)[0])
    line = refusal(capsys, "merge", shards)
    assert f"{file}: got a second row of ops " in line
    assert f"in line {len(rows(file))}" in line


@pytest.mark.parametrize("name", ["scores.jsonl", "truth.jsonl"])
def test_a_row_of_another_shard_is_refused(shards, name, capsys):
    file = shard(shards, 1) / name
    file.write_text(file.read_text() + (shard(shards, 2) / name).read_text())
    line = refusal(capsys, "merge", shards)
    assert f"{file}: got a row of " in line
    assert "which is not in shard 1/3" in line


def test_broken_files_of_a_shard_are_named(shards, capsys):
    (shard(shards, 2) / "finished.json").write_text('{"data": {}}')
    assert "finished.json: got a record without all its fields" in refusal(capsys, "merge", shards)
    shutil.copy(shard(shards, 1) / "finished.json", shard(shards, 2))
    best = str(np.load(shard(shards, 1) / "kernels.npz")["best_arch"])
    for index in (1, 2, 3):
        with np.load(shard(shards, index) / "kernels.npz") as stored:
            arrays = {**stored, "best_arch": best[::-1]}
        np.savez(shard(shards, index) / "kernels.npz", **arrays)
    assert "kernels.npz: got the kernel of " in refusal(capsys, "merge", shards)
    for index in (1, 2, 3):
        (shard(shards, index) / "kernels.npz").write_bytes(b"PK")
    assert "kernels.npz: got broken arrays" in refusal(capsys, "merge", shards)
    assert not (shards / "config.json").exists()


def test_other_versions_are_kept_in_the_record(shards):
    environment = json.loads((shard(shards, 1) / "environment.json").read_text())
    versions = {**environment["versions"], "jax": "9.9"}
    edit(shard(shards, 3) / "environment.json", versions=versions)
    assert run("merge", shards) == 0
    merged = json.loads((shards / "environment.json").read_text())
    assert merged == {**environment, "different_in_shards": {"3/3": {"versions": versions}}}


def test_folders_that_hold_no_shards(shards, whole, tmp_path, capsys):
    assert "which is no folder" in refusal(capsys, "merge", tmp_path / "nowhere")
    assert "without shards" in refusal(capsys, "merge", whole)
    assert "without shards" in refusal(capsys, "merge", shards, tmp_path)
    shutil.copy(whole / "config.json", shard(shards, 2))
    assert "02-of-03, which holds an unsharded run" in refusal(capsys, "merge", shards)


def test_nothing_is_merged_over_another_run(shards, whole, capsys):
    before = content(whole)
    line = refusal(capsys, "merge", shards, "--out", whole)
    assert "which holds a run that was not merged" in line
    assert content(whole) == before


def test_nothing_is_merged_over_another_merged_run(shards, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("merge", shards, "--out", out) == 0
    edit(out / "config.json", train_seed=5)
    before = content(out)
    line = refusal(capsys, "merge", shards, "--out", out)
    assert "a run with train_seed=5 where 0 is asked" in line
    assert content(out) == before


def test_folders_that_a_shard_cannot_be_run_in(shards, whole, command, tmp_path, capsys):
    def refused(out, *flags):
        before = content(out)
        line = refusal(capsys, *command, "--out", out, *flags)
        assert content(out) == before
        return line

    assert "which holds an unsharded run" in refused(whole, "--shard", "1/3")
    rest = tmp_path / "rest"
    rest.mkdir()
    shutil.copy(whole / "scores.jsonl", rest)
    assert "which holds an unsharded run" in refused(rest, "--shard", "1/3")
    line = refused(shard(shards, 2), "--shard", "2/3")
    assert f"the folder of shard 2/3 itself; give the folder above it: {shards}" in line
    assert "where shard 1/2 is asked" in refused(shards, "--shard", "1/2")
    assert "a run with num_images=12 where 8" in refused(
        shards, "--shard", "1/3", "--num-images", 8
    )
    assert "which holds shards of a run; merge them" in refused(shards)
    assert "shard 2/3 where a whole run is asked" in refused(shard(shards, 2))
    assert "give at most 4 shards" in refused(tmp_path / "new", "--shard", "1/5")


def test_a_shard_after_the_merge_has_nothing_to_do(shards, command, monkeypatch):
    assert run("merge", shards) == 0
    monkeypatch.setattr(model_kernels, "compile_program", None)
    assert run(*command, "--out", shards, "--shard", "3/3") == 0
    assert run("merge", shards) == 0


def test_shards_are_no_run_yet(shards, capsys):
    for command in (("report", shards), ("correlate", shards, "--truth", "own")):
        assert f"jaxntk merge {shards}" in refusal(capsys, *command)
    line = refusal(capsys, "report", shard(shards, 1))
    assert f"shard 1/3 of a run; merge the shards first: jaxntk merge {shards}" in line
