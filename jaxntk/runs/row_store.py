"""Rows of scores that a search keeps in its folder, and shares with other runs through a cache.

What scores depend on has a digest, and a cache has a folder for each digest. In there every start
of a run appends to a file of its own, so that no two processes ever write to one file; whoever
begins reads all of them. What a run takes from the cache it also writes to its own folder, which
stays whole without the cache.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from functools import cache as once
from pathlib import Path
from typing import Any

import jaxntk
from jaxntk.errors import InputError
from jaxntk.runs.rows import append_row, environment, read_rows, write_json_atomic
from jaxntk.runs.run_folder import SCORES, digest_of, note_device, rows_by_key

ABOUT = "about.json"
ADOPTED = "from_cache"
"""Marks rows that another run has computed."""

Row = dict[str, Any]


class RowStore:
    """The rows of one run, by the fields that identify them."""

    def __init__(
        self,
        out: Path,
        keys: tuple[str, ...],
        cache: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Reads and writes nothing yet.

        Args:
            out: folder of the run.
            keys: fields that identify a row.
            cache: folder that runs share; None to share nothing.
            about: everything that the scores depend on, as JSON values. The code, versions of
                packages and the kind of device are added to it.

        Raises:
            InputError: a cache that cannot be made or written to.
        """
        self.folder, self._keys, self._shared_folder = out, keys, None
        self._file = f"{uuid.uuid4().hex}.jsonl"
        self.rows: dict[tuple, Row] = {}
        self.shared: dict[tuple, Row] = {}
        self._noted = False
        if cache is not None:
            _refuse(cache)
            self._about = dict(about or {}) | _made_with()
            digest = digest_of(json.dumps(self._about, sort_keys=True))
            self._shared_folder = cache / digest[:16]

    def read(self) -> None:
        """Reads the rows of this run, and those that other runs have left in the cache.

        Raises:
            InputError: damaged rows, or a cache that cannot be made.
        """
        self.rows = rows_by_key(self.folder / SCORES, self._keys)
        if self._shared_folder is None:
            return
        # Before anything is computed: not every folder that says so can be written to.
        _make(self._shared_folder)
        for path in sorted(self._shared_folder.glob("*.jsonl")):
            for row in read_rows(path):
                self.shared.setdefault(self._key(row), row)

    def adopt(self, key: tuple) -> bool:
        """Takes a row from the cache into this run.

        Args:
            key: the values of the fields that identify it.

        Returns:
            Whether any run has left it.

        Raises:
            InputError: the folder cannot be written to.
        """
        row = self.shared.get(key)
        if row is not None and key not in self.rows:
            self.rows[key] = row | {ADOPTED: True}
            append_row(self.folder / SCORES, self.rows[key])
        return row is not None

    def add(self, row: Row) -> None:
        """Keeps a row that this run has computed, for itself and for others.

        Args:
            row: the row.

        Raises:
            InputError: a folder cannot be written to.
        """
        key = self._key(row)
        if not self._noted:
            note_device(self.folder)
            self._noted = True
        # The cache first: what a kill leaves there only is adopted.
        if self._shared_folder is not None and key not in self.shared:
            self._publish(self._shared_folder, row)
            self.shared[key] = row
        append_row(self.folder / SCORES, row)
        self.rows[key] = row

    def _publish(self, folder: Path, row: Row) -> None:
        # It may have been emptied meanwhile.
        _make(folder)
        try:
            append_row(folder / self._file, row)
            if not (folder / ABOUT).exists():
                write_json_atomic(folder / ABOUT, self._about)
        except InputError as error:
            raise InputError("score_cache", f"{folder} ({error})", _CURE) from error

    def _key(self, row: Row) -> tuple:
        return tuple(row.get(name) for name in self._keys)


_CURE = "give a folder that can be made and written to"


def _refuse(cache: Path) -> None:
    """Refuses a cache that cannot be written to; makes nothing."""
    there = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError("score_cache", str(cache), _CURE)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("score_cache", f"{folder} ({error.strerror})", _CURE) from error


def _made_with() -> dict[str, Any]:
    """Says what else a score depends on: the code, the packages and the kind of device."""
    made = environment()
    return {
        "code_sha256": _code_sha256(),
        "versions": made["versions"],
        "device": [made["device"]["platform"], made["device"]["kind"], made["machine"]],
    }


@once
def _code_sha256() -> str:
    """Digest of this package's source: its version is the same in between releases."""
    digest = hashlib.sha256()
    root = Path(jaxntk.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
