"""The folder of a run: what was asked, under what, and the rows computed so far."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np

from jaxntk.errors import InputError
from jaxntk.runs.config import LOCATIONS, AnyConfig
from jaxntk.runs.rows import device, environment, read_json, read_rows, write_json_atomic
from jaxntk.runs.shards import Shard, shard_folders

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
RESUMED_ON = "resumed_on"
"""Other devices than the first, in what the environment says."""
SCORES = "scores.jsonl"
TRUTH = "truth.jsonl"
KERNELS = "kernels.npz"
COMPILATION = "compilation.json"
SUMMARY = "summary.json"
FINISHED = "finished.json"
"""Written last into the folder of a shard, with what a merge needs besides the rows."""


@dataclass(frozen=True, kw_only=True)
class Record(Generic[AnyConfig]):
    """What ``config.json`` says of a run.

    Args:
        experiment: name of the experiment.
        command: the line that starts the run again.
        config: what is asked.
        data_sha256: digest of the data that the configuration names, wherever they lie.
        shard: the part of the population that this folder holds; None for all of it.
        merged: how many shards this folder was merged from; None for a run in one piece.
    """

    experiment: str
    command: str
    config: AnyConfig
    data_sha256: str
    shard: Shard | None = None
    merged: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the record as a JSON object."""
        row: dict[str, Any] = {
            "experiment": self.experiment,
            "command": self.command,
            "config": self.config.to_json(),
            "data_sha256": self.data_sha256,
        }
        if self.shard is not None:
            row["shard"] = str(self.shard)
        if self.merged is not None:
            row["merged"] = self.merged
        return row


def open_run(
    out: Path,
    record: Record[AnyConfig],
    check: Callable[[AnyConfig], None],
) -> None:
    """Begins a run in a folder, or goes on with the one that is there.

    A run without a single row is begun anew, whatever its configuration.

    Args:
        out: the folder; made if it does not exist.
        record: what is asked.
        check: refuses a bad configuration of its kind.

    Raises:
        InputError: the folder cannot be written to, or holds another shard, or rows of another
            configuration or of other data, or what another experiment has found.
    """
    make_folder(out)
    if holds_rows(out):
        refuse_other(out, record, check)
        return
    if (out / SUMMARY).exists():
        # Not every experiment has rows.
        refuse_experiment(out, record.experiment)
    # What another configuration was compiled with means nothing for this one.
    (out / COMPILATION).unlink(missing_ok=True)
    write_record(out, record, environment())


def make_folder(out: Path) -> None:
    """Makes a folder and those above it.

    Args:
        out: the folder; it may be there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cure = "give a folder that can be made and written to"
        raise InputError("out", f"{out} ({error.strerror})", cure) from error


def write_record(out: Path, record: Record, under: Mapping[str, Any]) -> None:
    """Writes what is asked and under what.

    Args:
        out: folder of the run.
        record: what is asked.
        under: versions and machine, as :func:`~jaxntk.runs.rows.environment` gives them.

    Raises:
        InputError: the folder cannot be written to.
    """
    # The configuration comes last: where it is present, the folder is whole.
    write_json_atomic(out / ENVIRONMENT, under)
    write_json_atomic(out / CONFIG, record.to_json())


def note_device(out: Path) -> None:
    """Writes down a device that a run goes on with, where it is not the one that it began with.

    Args:
        out: folder of the run; nothing is done where it does not say what it began with.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = out / ENVIRONMENT
    if not path.is_file():
        return
    made, now = read_json(path), device()
    there = [made.get("device"), *made.get(RESUMED_ON, [])]
    if now not in there:
        write_json_atomic(path, made | {RESUMED_ON: [*there[1:], now]})


def digest_of(*parts: np.ndarray | str) -> str:
    """Returns a SHA-256 of arrays.

    Args:
        parts: arrays, or digests of some.

    Returns:
        The digest.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
            continue
        digest.update(f"{part.shape} {part.dtype}".encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def holds_rows(out: Path) -> bool:
    """Says whether a folder has any row of a run.

    Args:
        out: the folder.

    Returns:
        Whether there is a score or an accuracy.
    """
    return bool(read_rows(out / SCORES) or read_rows(out / TRUTH))


def read_record(
    out: Path,
    kind: type[AnyConfig],
    check: Callable[[AnyConfig], None],
) -> Record[AnyConfig]:
    """Reads what a run was asked.

    Args:
        out: folder of the run.
        kind: of the configuration.
        check: refuses a bad one.

    Returns:
        The record, checked as the configuration of a new run is.

    Raises:
        InputError: the folder holds no run, or one this version cannot read.
    """
    path = out / CONFIG
    if not path.is_file():
        merge = f"merge its shards first: jaxntk merge {out}"
        cure = merge if shard_folders(out) else "give the folder of a run"
        raise InputError("out", f"{out} without {CONFIG}", cure)
    row = read_json(path)
    kinds = {"experiment": str, "command": str, "config": dict, "data_sha256": str}
    optional = {"shard": str, "merged": int}
    for name, wanted in (kinds | optional).items():
        if name not in row and name in kinds:
            raise InputError(str(path), f"no field {name!r}", "give the folder of a run")
        if name in row and type(row[name]) is not wanted:
            raise InputError(str(path), f"{name}={row[name]!r}", "give the file as it was written")
    try:
        config = kind.from_json(row["config"])
        check(config)
        shard = Shard.parse(row["shard"]) if "shard" in row else None
    except InputError as error:
        field = "" if error.argument == "config" else f"{error.argument}="
        raise InputError(str(path), f"{field}{error.got}", error.cure) from error
    return Record(
        experiment=row["experiment"],
        command=row["command"],
        config=config,
        data_sha256=row["data_sha256"],
        shard=shard,
        merged=row.get("merged"),
    )


def rows_by_key(path: Path, keys: tuple[str, ...]) -> dict[tuple, dict[str, Any]]:
    """Reads rows and indexes them.

    Args:
        path: a JSON-lines file; it may not exist yet.
        keys: fields that identify a row.

    Returns:
        The rows by the values of these fields.

    Raises:
        InputError: a row without these fields, or two rows with the same.
    """
    found: dict[tuple, dict[str, Any]] = {}
    for number, row in enumerate(read_rows(path), start=1):
        if any(key not in row for key in keys):
            cure = "remove that line and run the same command again: only its row is computed anew"
            raise InputError(str(path), f"no {' and '.join(keys)} in line {number}", cure)
        key = tuple(row[key] for key in keys)
        if key in found:
            what = ", ".join(f"{name} {value}" for name, value in zip(keys, key, strict=True))
            got = f"a second row of {what} in line {number}"
            raise InputError(str(path), got, "remove that line, and let one process write a folder")
        found[key] = row
    return found


def refuse_experiment(out: Path, experiment: str) -> None:
    """Refuses a folder that belongs to another experiment.

    Args:
        out: the folder; it may not exist yet.
        experiment: what is to be written there.

    Raises:
        InputError: it says that it is another one's.
    """
    found = [read_json(out / name) for name in (CONFIG, SUMMARY) if (out / name).is_file()]
    there = [each["experiment"] for each in found if isinstance(each.get("experiment"), str)]
    if there and there[0] != experiment:
        got = f"{out}, which holds {there[0]} where {experiment} is asked"
        raise InputError("out", got, "give another folder")


def refuse_other(
    out: Path,
    asked: Record[AnyConfig],
    check: Callable[[AnyConfig], None],
) -> None:
    """Refuses to go on with a run under another configuration or on other data.

    Args:
        out: folder of the run.
        asked: what is asked.
        check: refuses a bad configuration of its kind.

    Raises:
        InputError: the run in the folder is another one.
    """
    if not (out / CONFIG).exists():
        cure = "give another folder: these results do not say what they were computed with"
        raise InputError("out", f"{out} with results but no {CONFIG}", cure)
    try:
        there = read_record(out, type(asked.config), check)
    except InputError:
        # What another experiment was asked has other fields: their cure would not help.
        refuse_experiment(out, asked.experiment)
        raise
    if there.shard != asked.shard:
        parts = [f"shard {part}" if part else "a whole run" for part in (there.shard, asked.shard)]
        got = f"{out}, {parts[0]} where {parts[1]} is asked"
        raise InputError("out", got, "give another folder")
    difference = first_difference(there, asked)
    if difference is not None:
        name, old, new, others = difference
        more = f" and {others} more" if others else ""
        got = f"{out}, a run with {name}={old!r} where {new!r} is asked{more}"
        cure = "give another folder, remove this one, or resume it as it was begun"
        raise InputError("out", got, cure)
    if there.data_sha256 != asked.data_sha256:
        cure = "give another folder, or the data that its rows were computed with"
        raise InputError("out", f"{out}, a run on other data or another table", cure)


def refuse_shards(out: Path) -> None:
    """Refuses to run a whole population in a folder that holds shards of a run.

    Args:
        out: folder of the run; it may not exist yet.

    Raises:
        InputError: there are shards below it.
    """
    if shard_folders(out):
        cure = f"merge them (jaxntk merge {out}) or give another folder"
        raise InputError("out", f"{out}, which holds shards of a run", cure)


def refuse_whole(
    out: Path, shard: Shard, kind: type[AnyConfig], check: Callable[[AnyConfig], None]
) -> None:
    """Refuses to run a shard below a folder that holds anything but shards of the same split.

    Args:
        out: folder of the run; it may not exist yet.
        shard: the shard that is asked.
        kind: of the configuration.
        check: refuses a bad one.

    Raises:
        InputError: the folder holds an unsharded run, is that of one shard, or holds shards of
            another split.
    """
    cure = "give another folder, or run without --shard"
    if (out / CONFIG).exists():
        there = read_record(out, kind, check)
        if there.shard is not None:
            got = f"{out}, the folder of shard {there.shard} itself"
            raise InputError("out", got, f"give the folder above it: {out.parent}")
        if there.merged is None:
            raise InputError("out", f"{out}, which holds an unsharded run", cure)
    elif holds_rows(out):
        raise InputError("out", f"{out}, which holds an unsharded run", cure)
    last = f"-of-{shard.folder.rpartition('-')[2]}"
    others = [folder.name for folder in shard_folders(out) if not folder.name.endswith(last)]
    if others:
        got = f"{out}, which holds {others[0]}, where shard {shard} is asked"
        raise InputError("out", got, "give another folder, or the same number of shards")


def first_difference(one: Record, other: Record) -> tuple[str, Any, Any, int] | None:
    """Compares what two runs compute; where their files lie does not count.

    Args:
        one: a run.
        other: another one.

    Returns:
        The first field that differs, its two values and how many others differ; None if none does.
    """
    old, new = (
        {name: value for name, value in record.config.to_json().items() if name not in LOCATIONS}
        for record in (one, other)
    )
    changed = [name for name in new if old[name] != new[name]]
    return (changed[0], old[changed[0]], new[changed[0]], len(changed) - 1) if changed else None
