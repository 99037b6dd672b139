"""Bad input: one line on standard error, exit code 2, and nothing half-written."""

import contextlib
import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from jaxntk.spaces import nasbench201
from tests.tiny_runs import (
    MAIN,
    content,
    finish,
    one_line,
    process,
    refusal,
    sampled_cells,
    write_experiment,
    write_table,
)

NOBODY = 65534
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"


@pytest.fixture
def experiment(tmp_path):
    return write_experiment(tmp_path)


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "nasbench201.csv.gz", sampled_cells())


@pytest.fixture
def refused(capsys, tmp_path, experiment, table):
    """Runs with a good table and some flags; returns the line, when nothing was written."""

    def run(*flags):
        out = tmp_path / "run"
        before = content(tmp_path)
        truth = ("--truth", "cifar10/test/200", "--table", table)
        line = refusal(capsys, "run", experiment, "--out", out, *truth, *flags)
        assert not out.exists()
        assert content(tmp_path) == before
        return line

    return run


def images(folder, **changes):
    """Writes a small valid npz with some arrays replaced."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.random((24, 8, 8, 3), dtype=np.float32),
        "y_train": np.arange(24) % 3,
        "x_test": rng.random((6, 8, 8, 3), dtype=np.float32),
        "y_test": np.arange(6) % 3,
        "class_names": np.array(["cat", "dog", "eel"]),
    }
    file = folder / "images.npz"
    np.savez(file, **{**arrays, **changes})
    return file


def with_nan():
    x = np.full((24, 8, 8, 3), 0.5, np.float32)
    x[7, 0, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    ("archs", "told"),
    [
        ((CELL.replace("nor_conv_3x3", "nor_conv_3x4"), CELL), "did you mean 'nor_conv_3x3'"),
        ((CELL.replace("~1", "~0"), CELL), "got .*~0"),
        ((CELL.removesuffix("|"), CELL), "got "),
        (("421212", "42121"), "'42121'; write 6 digits"),
        (("421212", "421219"), "421219"),
        (("421212",), "archs: got 1 architecture"),
        (("421212", "421212"), "archs: got 421212 twice"),
    ],
)
def test_wrong_cells(refused, archs, told):
    assert re.search(told, refused("--archs", *archs))


@pytest.mark.parametrize("number", [0, -1, 1, 15626])
def test_an_empty_population(refused, number):
    assert refused("--num-archs", number).startswith(f"jaxntk: error: num_archs: got {number}; ")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x_train": np.zeros((24, 64), np.uint8)}, "x_train: got shape"),
        ({"x_train": np.zeros((24, 3, 8, 8), np.uint8)}, "channels come last"),
        ({"x_test": np.zeros((6, 9, 8, 3), np.float32)}, "x_test: got images"),
        ({"y_train": np.arange(24) % 4}, "y_train: got label 3 at position 3"),
        ({"y_test": np.arange(6) - 1}, "y_test: got label -1"),
        ({"y_train": np.arange(23) % 3}, "y_train: got shape"),
        ({"y_train": np.full(24, 1)}, "all of class 1"),
        ({"x_train": with_nan()}, "x_train: got NaN or infinite pixels in 1 images, first in 7"),
        ({"x_train": np.full((24, 8, 8, 3), 0.5, np.float32)}, "every pixel 0.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_images(refused, tmp_path, changes, told):
    data = f"npz:{images(tmp_path, **changes)}"
    assert told in refused("--data", data)


@pytest.mark.parametrize("shape", [(3, 5), (10, 10), (8, 16)])
def test_images_that_cannot_be_halved_twice(refused, tmp_path, shape):
    rng = np.random.default_rng(0)
    wrong = {"x_train": rng.random((24, *shape, 3)), "x_test": rng.random((6, *shape, 3))}
    line = refused("--data", f"npz:{images(tmp_path, **wrong)}")
    assert f"data: got images of shape {(*shape, 3)}" in line
    assert "square images of a multiple of 4 pixels" in line


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_npz(refused, tmp_path, part):
    file = images(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[: int(part * len(data))])
    assert "images.npz" in refused("--data", f"npz:{file}")


def test_a_missing_npz(refused, tmp_path):
    assert "nothing.npz" in refused("--data", f"npz:{tmp_path / 'nothing.npz'}")


def test_first_images_of_one_class(refused, tmp_path):
    file = images(tmp_path, y_train=np.repeat([0, 1, 2], 8))
    line = refused("--data", f"npz:{file}", "--batch", "first", "--num-images", 8)
    assert "all of class 0" in line


@pytest.mark.parametrize("number", [0, 1, 1348])
def test_wrong_numbers_of_images(refused, number):
    assert f"num_images: got {number}" in refused("--num-images", number)


def test_a_table_without_the_cell(refused, tmp_path):
    table = write_table(tmp_path / "few.csv.gz", sampled_cells()[:3])
    line = refused("--table", table)
    assert nasbench201.format_ops(sampled_cells()[3]) in line
    assert "a cell without a row" in line


def test_a_table_without_the_column(refused):
    assert "that table has cifar10/test/200" in refused("--truth", "cifar100/test/200")


def test_a_truncated_table(refused, table):
    table.write_bytes(table.read_bytes()[:-20])
    assert "damaged" in refused()


@pytest.mark.parametrize("flags", [(), ("--table", "nowhere/nasbench201.csv.gz")])
def test_a_missing_table_says_how_to_get_it(capsys, tmp_path, experiment, monkeypatch, flags):
    monkeypatch.delenv("JAXNTK_DATA", raising=False)
    out = tmp_path / "run"
    line = refusal(capsys, "run", experiment, "--out", out, "--truth", "cifar10/test/200", *flags)
    assert "download NATS-tss-v1_0-3ffb9-simple.tar" in line
    assert "jaxntk import-nasbench201 --source" in line
    assert not out.exists()


def test_training_batches_larger_than_the_training_set(capsys, tmp_path, experiment):
    out = tmp_path / "run"
    line = refusal(capsys, "run", experiment, "--out", out, "--train-batch-size", 1348)
    assert "train_batch_size: got 1348; the training set has 1347 images" in line
    assert not out.exists()


def test_out_is_a_file(capsys, tmp_path, experiment, table):
    out = tmp_path / "run"
    out.write_text("mine")
    truth = ("--truth", "cifar10/test/200", "--table", table)
    assert "out: got" in refusal(capsys, "run", experiment, "--out", out, *truth)
    assert out.read_text() == "mine"


CONFIG = {
    "experiment": "tiny",
    "command": "jaxntk run tiny.py --out run",
    "config": {"data": "digits", "truth": "train", "batch_norm": "frozen", "num_archs": 4},
    "data_sha256": "0" * 64,
}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("num_archs", "4", "num_archs='4'; give a whole number"),
        ("num_archs", 4.0, "num_archs=4.0; give a whole number"),
        ("num_inits", True, "num_inits=True; give a whole number"),
        ("num_inits", None, "num_inits=None; give a whole number"),
        ("learning_rate", "fast", "learning_rate='fast'; give a number"),
        ("metrics", "lga", "metrics='lga'; give a list of strings"),
        ("metrics", ["lga", 3], "metrics=.*3.*; give a list of strings"),
        ("metrics", ["lgaa"], "metrics='lgaa'; .*did you mean 'lga'"),
        ("archs", {}, "archs={}; give a list of strings"),
        ("tile", "8", "tile='8'; give a whole number, or nothing"),
        ("data_dir", 3, "data_dir=3; give a string, or nothing"),
        ("batch_norm", "froze", "batch_norm='froze'; choose from .*did you mean 'frozen'"),
        ("batch_norm", ["frozen"], r"batch_norm=.*frozen.*; choose from batch, frozen, running"),
        ("truth", 1, "truth=1; give a string"),
        ("num_arch", 4, "unknown field 'num_arch'; .*did you mean 'num_archs'"),
        ("experiment", 3, "experiment=3; "),
        ("command", None, "command=None; "),
        ("config", [], r"config=\[\]; "),
        ("data_sha256", 0, "data_sha256=0; "),
        ("shard", "3/2", "shard='3/2'; give I/N"),
        ("shard", 2, "shard=2; "),
        ("merged", True, "merged=True; "),
    ],
)
def test_a_configuration_edited_by_hand(capsys, tmp_path, experiment, field, value, told):
    inside = field not in CONFIG and field not in ("shard", "merged")
    changed = {field: value}
    row = {**CONFIG, "config": {**CONFIG["config"], **changed}} if inside else {**CONFIG, **changed}
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text(json.dumps(row))
    (out / "scores.jsonl").write_text('{"ops": "421211", "init_seed": 0}\n')
    before = content(out)
    commands = [
        ("correlate", out, "--truth", "own"),
        ("run", experiment, "--out", out),
        ("run", experiment, "--out", out, "--shard", "1/2"),
    ]
    for command in commands:
        line = refusal(capsys, *command)
        assert re.search(rf"config\.json: got {told}", line), line
    assert content(out) == before


@pytest.mark.parametrize("field", CONFIG)
def test_a_configuration_that_lacks_a_field(capsys, tmp_path, field):
    row = {name: value for name, value in CONFIG.items() if name != field}
    (tmp_path / "config.json").write_text(json.dumps(row))
    line = refusal(capsys, "correlate", tmp_path, "--truth", "own")
    assert f"config.json: got no field '{field}'" in line


@contextlib.contextmanager
def open_to_nobody():
    """A folder that everybody reaches, unlike pytest's own, and nobody but its owner writes to."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(folder)


# The superuser is bound by no mode, and others may not reach the Python that runs here: privileges
# go when everything is imported and read, before anything is written.
UNPRIVILEGED = f"""
import os
from jaxntk.studies import rank
prepare = rank.prepare
def prepare_and_drop(config):
    job = prepare(config)
    if os.getuid() == 0:
        os.setgid({NOBODY})
        os.setuid({NOBODY})
    return job
rank.prepare = prepare_and_drop
{MAIN}
"""


@pytest.mark.parametrize("there", [True, False])
def test_a_read_only_folder(there):
    with open_to_nobody() as folder:
        flags = ("--truth", "cifar10/test/200", "--table")
        table = write_table(folder / "t.csv.gz", sampled_cells())
        experiment = write_experiment(folder)
        closed = folder / "closed"
        closed.mkdir()
        closed.chmod(0o555)
        out = closed if there else closed / "run"
        arguments = ["run", experiment, "--out", out, *flags, table]
        code, _, err = finish(process(arguments, UNPRIVILEGED, cwd="/"))
        assert code == 2, err
        line = one_line(err)
        assert "out: got" in line
        assert "Permission denied" in line
        assert list(closed.iterdir()) == []
