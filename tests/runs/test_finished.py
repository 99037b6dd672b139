import json
import math

import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.runs.finished import (
    REQUIRED_FILES,
    count_statuses,
    load_run,
    mean_over_inits,
    read_kernels,
)


def score(arch, value, status="ok"):
    return {"arch": arch, "metrics": {"lga": {"value": value, "status": status}}}


def test_mean_over_inits():
    rows = [score("b", 1.0), score("a", 3.0), score("b", 2), score("a", 5.0)]
    assert mean_over_inits(rows, "lga") == {"b": 1.5, "a": 4.0}
    assert list(mean_over_inits(rows, "lga")) == ["b", "a"]


def test_one_invalid_initialisation_makes_the_cell_invalid():
    rows = [score("a", 1.0), score("a", None, "nonfinite"), score("b", 2.0)]
    found = mean_over_inits(rows, "lga")
    assert math.isnan(found["a"])
    assert found["b"] == 2.0


def test_statuses_are_counted_a_row_each():
    rows = [score("a", 1.0), score("a", None, "nonfinite"), score("b", None, "nonfinite")]
    assert count_statuses(rows, "lga") == {"ok": 1, "nonfinite": 2}


def test_a_run_is_read_whole(make_run):
    run = load_run(make_run(num=10, num_inits=3))
    assert len(run.truth) == 10
    assert len(run.scores) == 30
    assert run.summary["num_archs"] == 10
    assert run.kernels is not None
    assert run.kernels.best_gram.shape == (64, 64)
    assert run.kernels.metric == "condition_number"
    assert load_run(str(run.folder)).config == run.config


def test_kernels_may_be_missing(make_run):
    assert load_run(make_run(kernels=False)).kernels is None


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(InputError, match=r"holds no run; give the --out folder of a run"):
        load_run(tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="which is no folder"):
        load_run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_an_unfinished_run_says_what_is_missing_and_how_to_end_it(make_run, name):
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(InputError, match="run it to the end") as caught:
        load_run(folder)
    line = str(caught.value)
    assert f"without {name};" in line
    if name != "config.json":
        assert "jaxntk run experiments/quickstart_digits.py --out runs/quickstart" in line


def test_a_summary_of_something_else(make_run):
    folder = make_run()
    (folder / "summary.json").write_text(json.dumps({"experiment": "x"}))
    with pytest.raises(InputError, match=r"summary\.json: got no truth, num_archs"):
        load_run(folder)


@pytest.mark.parametrize("name", ["config.json", "environment.json", "summary.json"])
def test_broken_json_is_named(make_run, name):
    folder = make_run()
    (folder / name).write_text("{")
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        load_run(folder)


def test_truncated_kernels_are_named(make_run):
    path = make_run() / "kernels.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"kernels\.npz"):
        load_run(path.parent)


def test_kernels_without_labels_are_named(make_run):
    path = make_run() / "kernels.npz"
    np.savez(path, metric="lga", best_gram=np.eye(2), worst_gram=np.eye(2))
    with pytest.raises(InputError, match=r"kernels\.npz.*labels"):
        load_run(path.parent)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": [1]}, r"config=\[1\]"),
        ({"config": None}, "config=None"),
        ({"command": 3}, "command=3"),
    ],
)
def test_a_configuration_of_wrong_types_is_named(make_run, changes, told):
    folder = make_run()
    row = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**row, **changes}))
    with pytest.raises(InputError, match=rf"config\.json: got {told}; give the file as it was"):
        load_run(folder)


def test_a_shard_is_no_run(make_run):
    folder = make_run()
    row = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**row, "shard": "2/8"}))
    (folder / "summary.json").unlink()
    with pytest.raises(InputError, match=r"shard 2/8 of a run; merge the shards first"):
        load_run(folder)


def test_shards_that_are_not_merged_are_no_run(tmp_path):
    (tmp_path / "shard-01-of-02").mkdir()
    with pytest.raises(InputError, match=rf"which holds shards.*: jaxntk merge {tmp_path}$"):
        load_run(tmp_path)


def test_kernels_are_read_as_they_were_written(make_run):
    path = make_run() / "kernels.npz"
    with np.load(path) as stored:
        arrays = {**stored, "best_gram": np.eye(2, dtype=np.float32)}
    np.savez(path, **arrays)
    found = read_kernels(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("name", ["best_accuracy", "best_gram"])
def test_kernels_that_are_no_numbers_are_named(make_run, name):
    path = make_run() / "kernels.npz"
    with np.load(path) as stored:
        arrays = {**stored, name: np.array(["a", "b"])}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=r"kernels\.npz: got broken arrays"):
        load_run(path.parent)
