import errno
import json
import math
import os
import resource
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.errors import InputError
from jaxntk.runs import rows
from jaxntk.runs.rows import (
    append_row,
    environment,
    read_json,
    read_rows,
    write_bytes_atomic,
    write_json_atomic,
    write_rows_atomic,
)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
ROWS = st.lists(st.dictionaries(st.text(), SCALARS | st.text() | st.lists(SCALARS)), max_size=5)


@pytest.fixture
def fail_half_way(monkeypatch):
    """Lets every write put half of its bytes on the disk, then fail as a full disk does."""

    def install(code):
        write, calls = os.write, []

        def half_then_fail(fd, data):
            calls.append(fd)
            if len(calls) % 2:
                return write(fd, bytes(data)[: max(1, len(data) // 2)])
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "write", half_then_fail)

    return install


@given(written=ROWS)
def test_rows_come_back_as_written(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("rows") / "scores.jsonl"
    for row in written:
        append_row(path, row)
    assert read_rows(path) == written


@given(written=ROWS)
def test_rows_written_at_once_are_those_appended(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("rows")
    for row in written:
        append_row(folder / "appended.jsonl", row)
    write_rows_atomic(folder / "at_once.jsonl", written)
    assert read_rows(folder / "at_once.jsonl") == written
    if written:
        appended = (folder / "appended.jsonl").read_bytes()
        assert (folder / "at_once.jsonl").read_bytes() == appended


def test_rows_written_at_once_are_whole_or_as_before(tmp_path, fail_half_way):
    path = tmp_path / "scores.jsonl"
    write_rows_atomic(path, [{"a": 1}, {"a": 2}])
    before = path.read_bytes()
    with pytest.raises(InputError, match="NaN or infinity"):
        write_rows_atomic(path, [{"a": 1}, {"a": math.nan}])
    fail_half_way(errno.ENOSPC)
    with pytest.raises(InputError, match=r"scores\.jsonl cannot be written"):
        write_rows_atomic(path, [{"a": 3}])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["scores.jsonl"]


def test_numpy_numbers_become_plain_ones(tmp_path):
    path = tmp_path / "scores.jsonl"
    append_row(
        path, {"a": np.float32(0.5), "b": np.int64(3), "c": np.arange(2), "d": np.bool_(True)}
    )
    assert read_rows(path) == [{"a": 0.5, "b": 3, "c": [0, 1], "d": True}]


def test_file_that_is_not_there_has_no_rows(tmp_path):
    assert read_rows(tmp_path / "scores.jsonl") == []


def test_a_run_cut_at_any_byte_loses_only_the_last_row(tmp_path):
    whole = tmp_path / "whole.jsonl"
    written = [{"arch": "é" * size, "seed": size} for size in range(4)]
    for row in written:
        append_row(whole, row)
    data = whole.read_bytes()
    for cut in range(len(data) + 1):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(data[:cut])
        kept = read_rows(path)
        assert kept == written[: data[:cut].count(b"\n")], cut
        assert path.read_bytes() == data[:cut], "reading must not change a file"
        append_row(path, {"arch": "new"})
        assert read_rows(path) == [*kept, {"arch": "new"}], cut


def test_torn_tail_longer_than_a_chunk_is_cut_off(tmp_path):
    path = tmp_path / "scores.jsonl"
    append_row(path, {"seed": 0})
    with open(path, "ab") as file:
        file.write(b"x" * 200_000)
    append_row(path, {"seed": 1})
    assert read_rows(path) == [{"seed": 0}, {"seed": 1}]


@pytest.mark.parametrize("middle", ['{"seed": 1', "", "[1]", "\0\0\0", '{"seed": \udcff}'])
def test_torn_line_elsewhere_is_refused_with_its_number(tmp_path, middle):
    path = tmp_path / "scores.jsonl"
    text = f'{{"seed": 0}}\n{middle}\n{{"seed": 2}}\n'
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"scores\.jsonl.*line 2"):
        read_rows(path)


def test_a_killed_writer_leaves_whole_rows(tmp_path):
    path = tmp_path / "scores.jsonl"
    code = (
        "import sys; from jaxntk.runs.rows import append_row\n"
        "for seed in range(10**6): append_row(sys.argv[1], {'seed': seed, 'pad': 'x' * 5000})"
    )
    root = rows.__file__.partition("/jaxntk/results")[0]
    env = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen([sys.executable, "-c", code, str(path)], env=env) as process:
        deadline = time.monotonic() + 60
        while len(read_rows(path)) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    found = read_rows(path)
    assert len(found) >= 5
    assert [row["seed"] for row in found] == list(range(len(found)))


def test_disk_full_leaves_the_rows_as_before(tmp_path, fail_half_way):
    path = tmp_path / "scores.jsonl"
    append_row(path, {"seed": 0})
    before = path.read_bytes()
    fail_half_way(errno.ENOSPC)
    with pytest.raises(InputError, match="free some space") as caught:
        append_row(path, {"seed": 1, "pad": "x" * 100})
    assert str(tmp_path) in str(caught.value)
    assert path.read_bytes() == before


def test_file_size_limit_of_the_system_leaves_the_rows_as_before(tmp_path):
    path = tmp_path / "scores.jsonl"
    append_row(path, {"seed": 0})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(InputError, match="free some space"):
            append_row(path, {"seed": 1, "pad": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before


def test_disk_full_leaves_the_old_file(tmp_path, fail_half_way):
    path = tmp_path / "summary.json"
    write_json_atomic(path, {"old": 1})
    before = path.read_bytes()
    fail_half_way(errno.ENOSPC)
    with pytest.raises(InputError, match="free some space") as caught:
        write_json_atomic(path, {"new": "x" * 100})
    assert str(tmp_path) in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["summary.json"]


def write_row(path):
    append_row(path, {"seed": 0})


def write_json(path):
    write_json_atomic(path, {"seed": 0})


WRITERS = pytest.mark.parametrize("write", [write_row, write_json])


@WRITERS
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_read_only_folder_is_named(tmp_path, monkeypatch, write, code):
    def refuse(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match="make it writable") as caught:
        write(tmp_path / "file.json")
    assert str(tmp_path) in str(caught.value)


@WRITERS
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_folder_without_write_permission(tmp_path, write):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError, match="make it writable"):
            write(tmp_path / "file.json")
    finally:
        tmp_path.chmod(0o755)


@WRITERS
def test_missing_folder_is_named(tmp_path, write):
    with pytest.raises(InputError, match=r"nowhere.*give a folder that exists"):
        write(tmp_path / "nowhere" / "file.json")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), np.float64("nan"), np.array([np.inf])]
)
def test_numbers_that_json_lacks_are_refused(tmp_path, value):
    path = tmp_path / "file.json"
    with pytest.raises(InputError, match=r"file\.json: got NaN or infinity"):
        append_row(path, {"value": value})
    with pytest.raises(InputError, match=r"file\.json: got NaN or infinity"):
        write_json_atomic(path, {"value": value})
    assert os.listdir(tmp_path) == []


def test_json_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "summary.json"
    for content in ({"a": [1, 2.5, None]}, {}, {"b": "é"}):
        write_json_atomic(path, content)
        assert json.loads(path.read_text("utf-8")) == content == read_json(path)
    write_bytes_atomic(path, b"\x00raw")
    assert path.read_bytes() == b"\x00raw"
    assert os.listdir(tmp_path) == ["summary.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_broken_json_is_refused(tmp_path, content):
    path = tmp_path / "summary.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"summary\.json"):
        read_json(path)


def test_environment_tells_versions_and_device_but_no_place(tmp_path):
    found = environment()
    write_json_atomic(tmp_path / "environment.json", found)
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert set(found["versions"]) == {"python", *rows.PACKAGES}
    assert found["device"] == {
        "platform": jax.devices()[0].platform,
        "kind": jax.devices()[0].device_kind,
        "count": jax.device_count(),
    }
    text = json.dumps(found)
    assert os.sep not in text
    assert os.uname().nodename not in text


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def test_git_state_follows_the_checkout(tmp_path):
    assert rows._git_state(tmp_path) is None
    git(tmp_path, "init")
    assert rows._git_state(tmp_path) is None, "no commit yet"
    (tmp_path / "code.py").write_text("1")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "first")
    clean = rows._git_state(tmp_path)
    assert clean is not None
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (tmp_path / "code.py").write_text("2")
    assert rows._git_state(tmp_path) == {"commit": clean["commit"], "dirty": True}
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert rows._git_state(inside) is None, "another project's checkout"


def test_git_state_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rows._git_state(tmp_path) is None
