"""Rows that runs share: who reads what, and what is left when something is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jaxntk.errors import InputError
from jaxntk.runs import row_store
from jaxntk.runs.row_store import RowStore
from jaxntk.runs.rows import read_rows
from tests.tiny_runs import REPOSITORY

KEYS = ("arch", "seed")


def row(arch, value=1.0):
    return {"arch": arch, "seed": 0, "value": value}


def store(tmp_path, name, about=None, cache="cache"):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    made = RowStore(folder, KEYS, tmp_path / cache if cache else None, about or {"images": 8})
    made.read()
    return made


def test_a_later_run_takes_what_an_earlier_one_computed(tmp_path):
    store(tmp_path, "first").add(row("a"))
    second = store(tmp_path, "second")
    assert second.rows == {}
    assert second.adopt(("a", 0))
    assert not second.adopt(("b", 0))
    adopted = row("a") | {"from_cache": True}
    assert read_rows(tmp_path / "second" / "scores.jsonl") == [adopted]
    second.adopt(("a", 0))
    assert len(read_rows(tmp_path / "second" / "scores.jsonl")) == 1
    # It stays whole without the cache.
    assert store(tmp_path, "second", cache=None).rows == {("a", 0): adopted}


def test_other_settings_share_nothing(tmp_path):
    store(tmp_path, "first").add(row("a"))
    other = store(tmp_path, "second", {"images": 16})
    assert not other.adopt(("a", 0))
    other.add(row("a"))
    abouts = [json.loads(file.read_text()) for file in tmp_path.glob("cache/*/about.json")]
    assert sorted(about["images"] for about in abouts) == [8, 16]
    assert {"code_sha256", "versions", "device"} <= set(abouts[0])


def test_another_code_shares_nothing(tmp_path, monkeypatch):
    store(tmp_path, "first").add(row("a"))
    monkeypatch.setattr(row_store, "_code_sha256", lambda: "another")
    assert store(tmp_path, "second").shared == {}


def test_what_a_kill_left_in_the_cache_only_is_adopted(tmp_path, monkeypatch):
    first = store(tmp_path, "first")
    real = row_store.append_row

    def dies(path, row):
        real(path, row)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(row_store, "append_row", dies)
        with pytest.raises(KeyboardInterrupt):
            first.add(row("a"))
    again = store(tmp_path, "first")
    assert again.rows == {}
    assert again.adopt(("a", 0))


MANY = """
import sys
from pathlib import Path
from jaxntk.runs.row_store import RowStore
out = Path(sys.argv[1])
for number in range(30):
    store = RowStore(out, ("arch", "seed"), out.parent / "cache", {"images": 8})
    store.read()
    store.add({"arch": f"{out.name} {number}", "seed": 0})
"""


def test_processes_that_begin_at_once_do_not_disturb_each_other(tmp_path):
    names = ("one", "two")
    for name in names:
        (tmp_path / name).mkdir()
    started = [
        subprocess.Popen([sys.executable, "-c", MANY, tmp_path / name], cwd=REPOSITORY)
        for name in names
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    assert len(store(tmp_path, "three").shared) == 60


def test_every_run_has_a_file_of_its_own(tmp_path):
    first, second = store(tmp_path, "first"), store(tmp_path, "second")
    first.add(row("a"))
    second.add(row("a", 2.0))
    second.add(row("b"))
    assert len(list(tmp_path.glob("cache/*/*.jsonl"))) == 2
    third = store(tmp_path, "third")
    assert set(third.shared) == {("a", 0), ("b", 0)}
    # Each goes on with its own.
    assert store(tmp_path, "second").rows["a", 0] == row("a", 2.0)


def test_what_a_run_adopts_is_not_written_to_the_cache_again(tmp_path):
    store(tmp_path, "first").add(row("a"))
    store(tmp_path, "second").adopt(("a", 0))
    assert len(list(tmp_path.glob("cache/*/*.jsonl"))) == 1


def test_a_torn_line_in_the_cache_is_left_out(tmp_path):
    store(tmp_path, "first").add(row("a"))
    (file,) = tmp_path.glob("cache/*/*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"arch": "b", "se')
    assert set(store(tmp_path, "second").shared) == {("a", 0)}


def test_a_cache_that_cannot_be_made_is_refused_before_any_row(tmp_path):
    with pytest.raises(InputError, match=r"score_cache: got /proc/cache"):
        RowStore(tmp_path / "run", KEYS, Path("/proc/cache"), {}).read()


def test_a_file_in_place_of_the_cache_is_refused(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match=r"score_cache: got .*cache"):
        store(tmp_path, "first")
    with pytest.raises(InputError, match=r"score_cache: got .*below"):
        store(tmp_path, "first", cache="cache/below")
