"""Rows of scores that a search keeps in its folder, and shares with other runs through a cache.

What scores depend on has a digest, and a cache has a folder for each digest. In there every run
appends to a file of its own, so that no two processes ever write to one file; whoever begins reads
all of them. What a run takes from the cache it also writes to its own folder, which stays whole
without the cache.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

import jaxntk
from jaxntk.errors import InputError
from jaxntk.results.rows import append_row, write_json_atomic
from jaxntk.studies.run_folder import SCORES, digest_of, make_folder, rows_by_key

ABOUT = "about.json"

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
            about: everything that the scores depend on, as JSON values. Versions and the kind of
                device are added to it.
        """
        self.folder, self._keys, self._own = out, keys, None
        self.rows: dict[tuple, Row] = {}
        self.shared: dict[tuple, Row] = {}
        self._about = dict(about or {}) | {
            "jaxntk": jaxntk.__version__,
            "jax": jax.__version__,
            "platform": jax.default_backend(),
        }
        if cache is not None:
            self._own = cache / digest_of(json.dumps(self._about, sort_keys=True))[:16]

    def read(self) -> None:
        """Reads the rows of this run, and those that other runs have left in the cache.

        Raises:
            InputError: damaged rows, or a cache that cannot be made.
        """
        self.rows = rows_by_key(self.folder / SCORES, self._keys)
        if self._own is None:
            return
        try:
            make_folder(self._own)
        except InputError as error:
            raise InputError("score_cache", error.got, error.cure) from error
        write_json_atomic(self._own / ABOUT, self._about)
        for path in sorted(self._own.glob("*.jsonl")):
            for key, row in rows_by_key(path, self._keys).items():
                self.shared.setdefault(key, row)

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
            append_row(self.folder / SCORES, row)
            self.rows[key] = row
        return row is not None

    def add(self, row: Row) -> None:
        """Keeps a row that this run has computed, for itself and for others.

        Args:
            row: the row.

        Raises:
            InputError: a folder cannot be written to.
        """
        key = tuple(row[name] for name in self._keys)
        append_row(self.folder / SCORES, row)
        self.rows[key] = row
        if self._own is not None and key not in self.shared:
            append_row(self._own / f"{digest_of(str(self.folder.resolve()))[:16]}.jsonl", row)
            self.shared[key] = row
