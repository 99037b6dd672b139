"""Result files that survive a kill: append-only rows, atomic JSON, and the environment of a run."""

import contextlib
import errno
import io
import json
import os
import platform
import subprocess
import uuid
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxntk.errors import InputError

PACKAGES = ("jaxntk", "jax", "jaxlib", "flax", "numpy", "scipy")

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_GIT_TIMEOUT_SECONDS = 10


def number_or_none(value: Any) -> float | None:
    """Returns a number as JSON has it: None where it is not finite.

    Args:
        value: a number.

    Returns:
        The number.
    """
    return float(value) if np.isfinite(value) else None


def append_row(path: str | os.PathLike[str], row: Mapping[str, Any]) -> None:
    r"""Appends one row to a JSON-lines file so that it is either wholly there or not at all.

    The line is on the disk (``fsync``) when the call returns. A row counts only with its newline:
    what a killed process left after the last newline is cut off first, and a write that fails
    half-way is cut off again.

    Args:
        path: the file; made if it is not there, in a folder that is.
        row: a JSON object; NumPy scalars are taken as numbers.

    Raises:
        InputError: the folder cannot be written to or is full, or the row holds NaN or infinity.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "scores.jsonl"
        >>> append_row(file, {"arch": "a", "seed": 0})
        >>> read_rows(file)
        [{'arch': 'a', 'seed': 0}]
        >>> folder.cleanup()
    """
    path = Path(path)
    line = (_dumps(path, row, indent=None) + "\n").encode()
    try:
        _append(path, line)
    except OSError as error:
        raise InputError(*_write_fault(path, error)) from error


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the rows of a JSON-lines file, leaving out a last line that a kill has torn.

    Reading changes nothing, so a run in progress can be read; `append_row` cuts the torn line off.

    Args:
        path: the file; one that does not exist yet has no rows.

    Returns:
        The rows in the order they were written.

    Raises:
        InputError: a line before the last is no JSON object, or the file cannot be read.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(*_read_fault(path, error)) from error
    complete = data.split(b"\n")[:-1]
    return [_parse_row(path, number, line) for number, line in enumerate(complete, start=1)]


def write_rows_atomic(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a whole JSON-lines file at once; the file is whole or as it was before.

    Each line is the one that `append_row` writes for that row.

    Args:
        path: the file to make or to replace, in a folder that exists.
        rows: JSON objects.

    Raises:
        InputError: the folder cannot be written to or is full, or a row holds NaN or infinity.
    """
    path = Path(path)
    lines = (_dumps(path, row, indent=None) + "\n" for row in rows)
    write_bytes_atomic(path, "".join(lines).encode())


def archive(arrays: dict[str, Any]) -> bytes:
    """Packs arrays into the content of an ``.npz`` file.

    Args:
        arrays: the arrays by name.

    Returns:
        The bytes of the file.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def write_bytes_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file so that readers see the old content or the new, never a part.

    Args:
        path: the file to make or to replace, in a folder that exists.
        data: its whole content.

    Raises:
        InputError: the folder cannot be written to or is full; the file is as it was before.
    """
    path = Path(path)
    # Of its own: several processes may replace a file at the same moment.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(partial, "wb", buffering=0) as file:
            _write_all(file.fileno(), data)
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(*_write_fault(path, error)) from error


def write_json_atomic(path: str | os.PathLike[str], obj: Any) -> None:
    """Writes an object as indented JSON; the file is whole or as it was before.

    Args:
        path: the file to make or to replace, in a folder that exists.
        obj: what JSON can hold, without NaN or infinity (store null and a status instead).

    Raises:
        InputError: the folder cannot be written to or is full, or `obj` holds NaN or infinity.
    """
    write_bytes_atomic(path, (_dumps(Path(path), obj, indent=2) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a JSON file that holds one object.

    Args:
        path: the file.

    Returns:
        The object.

    Raises:
        InputError: the file is missing, cannot be read, or holds something else.
    """
    path = Path(path)
    cure = "remove it and run the same command again"
    try:
        obj = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(*_read_fault(path, error)) from error
    except ValueError as error:
        raise InputError(str(path), f"broken JSON ({error})", cure) from error
    if not isinstance(obj, dict):
        raise InputError(str(path), f"a JSON {type(obj).__name__} instead of an object", cure)
    return obj


def environment() -> dict[str, Any]:
    """Describes what a run was made with, without host names, users or paths.

    Returns:
        ``versions`` (package to version, or None where it is not installed), ``device``
        (``platform``, ``kind``, ``count``), ``system``, ``machine``, ``cpu_count``, and ``git``:
        ``{"commit", "dirty"}`` of the checkout that the code runs from, or None outside of one.
    """
    packages = {name: _package_version(name) for name in PACKAGES}
    return {
        "versions": {"python": platform.python_version(), **packages},
        "device": device(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "git": _git_state(Path(__file__).resolve().parents[2]),
    }


def device() -> dict[str, Any]:
    """Describes the devices that computations run on.

    Returns:
        ``platform``, ``kind`` and ``count``.
    """
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
    }


def _append(path: Path, line: bytes) -> None:
    with open(path, "ab+", buffering=0) as file:
        end = _end_of_last_row(file.fileno())
        file.truncate(end)
        try:
            _write_all(file.fileno(), line)
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def _dumps(path: Path, obj: object, indent: int | None) -> str:
    try:
        return json.dumps(obj, indent=indent, allow_nan=False, default=_plain, ensure_ascii=False)
    except ValueError as error:
        cure = "store null and the status of the score instead"
        raise InputError(path.name, "NaN or infinity", cure) from error


def _plain(obj: object) -> object:
    if isinstance(obj, np.generic | np.ndarray):
        return obj.tolist()
    raise TypeError(f"JSON cannot hold a {type(obj).__name__}")


def _parse_row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        cure = "remove that line and run the same command again: only its row is computed anew"
        raise InputError(str(path), f"no JSON object in line {number}", cure)
    return row


def _end_of_last_row(fd: int, chunk: int = 1 << 16) -> int:
    """Returns the offset after the last newline of an open file."""
    position = os.fstat(fd).st_size
    while position > 0:
        start = max(0, position - chunk)
        os.lseek(fd, start, os.SEEK_SET)
        newline = os.read(fd, position - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        position = start
    return 0


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _write_fault(path: Path, error: OSError) -> tuple[str, str, str]:
    """Returns what `InputError` takes: argument, what it got, cure."""
    if error.errno in _NO_SPACE:
        cure = "free some space there or give another folder"
    elif error.errno in _NOT_ALLOWED:
        cure = "make it writable or give another folder"
    else:
        cure = "give a folder that exists and can be written to"
    reason = error.strerror or type(error).__name__
    return "out", f"folder {path.parent}, where {path.name} cannot be written ({reason})", cure


def _read_fault(path: Path, error: OSError) -> tuple[str, str, str]:
    reason = error.strerror or type(error).__name__
    return str(path), f"a file that cannot be read ({reason})", "give a readable one"


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_state(root: Path) -> dict[str, Any] | None:
    """Returns commit and dirty flag if `root` itself is a checkout, else None."""
    head = _git(root, "rev-parse", "--show-toplevel", "HEAD")
    if head is None:
        return None
    toplevel, commit = head.splitlines()
    # An installed package may lie inside somebody else's checkout: that commit says nothing.
    if Path(toplevel).resolve() != root:
        return None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=_GIT_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
