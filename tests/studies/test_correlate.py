"""Holding a run against a truth that is chosen afterwards."""

import json
import shutil

import pytest

from jaxntk.cli import main
from jaxntk.spaces import nasbench201
from tests.tiny_runs import accuracies, content, refusal, sampled_cells, write_table


def test_own(finished, tmp_path, capsys):
    before = content(finished)
    file = tmp_path / "found.json"
    assert main(["correlate", str(finished), "--truth", "own", "--json", str(file)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "train:1" in out
    found, summary = (json.loads(f.read_text()) for f in (file, finished / "summary.json"))
    for name in ("metrics", "baselines", "truth", "num_archs", "num_inits", "experiment"):
        assert found[name] == summary[name]
    assert content(finished) == before


def test_table(finished, table, tmp_path, capsys):
    file = tmp_path / "found.json"
    flags = ["--truth", "cifar10/test/200", "--table", str(table), "--json", str(file)]
    assert main(["correlate", str(finished), *flags]) == 0
    assert "cifar10/test/200" in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert found["truth"]["source"] == "cifar10/test/200"
    # The table of the tests grows with the number of convolutions.
    assert found["baselines"]["convolutions"]["kendall"] > 0.7


def test_a_file_of_ones_own(finished, table, tmp_path, capsys):
    """The same accuracies, written down by hand, give the same correlations."""
    cells = sampled_cells()
    known = zip(cells, accuracies(cells), strict=True)
    own = tmp_path / "mine.csv"
    rows = [f"{nasbench201.decode(cell)},{accuracy}" for cell, accuracy in known]
    own.write_text("\n".join(["arch,accuracy", *rows]) + "\n")
    found = []
    for flags in (["cifar10/test/200", "--table", table], [own]):
        file = tmp_path / "found.json"
        named = [str(flag) for flag in ("--truth", *flags, "--json", file)]
        assert main(["correlate", str(finished), *named]) == 0
        found.append(json.loads(file.read_text()))
    for name in ("metrics", "baselines", "num_archs"):
        assert found[0][name] == found[1][name]
    assert found[1]["truth"]["source"] == str(own)
    capsys.readouterr()


def test_an_unfinished_run(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    for name, kept in (("scores.jsonl", 3), ("truth.jsonl", 2)):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:kept]))
    assert main(["correlate", str(folder), "--truth", "own"]) == 0
    assert "2 architectures" in capsys.readouterr().out
    (folder / "truth.jsonl").unlink()
    assert "0 complete architectures" in refusal(capsys, "correlate", folder, "--truth", "own")


def test_a_table_without_the_cell(finished, tmp_path, capsys):
    table = write_table(tmp_path / "t.csv.gz", sampled_cells()[:2])
    line = refusal(capsys, "correlate", finished, "--truth", "cifar10/test/200", "--table", table)
    assert "a cell without a row" in line


def config_of(config):
    whole = {"experiment": "own", "command": "jaxntk run", "data_sha256": "0", "config": config}
    return json.dumps(whole)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("config.json", "{", "broken JSON"),
        ("config.json", "{}", "no field 'experiment'"),
        ("config.json", config_of({"dat": 1}), "did you mean 'data'"),
        ("config.json", config_of({"data": "digits"}), "no field 'truth'"),
        ("scores.jsonl", "{}\n", "no arch and init_seed in line 1"),
        ("scores.jsonl", "x\n{}\n", "line 1"),
    ],
)
def test_a_broken_file_is_named(finished, tmp_path, capsys, name, text, told):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / name).write_text(text)
    assert told in refusal(capsys, "correlate", folder, "--truth", "own")
