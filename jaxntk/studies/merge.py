"""Joins the shards of a run into the folder that the unsharded run would have written.

Nothing is computed anew and no image is read: rows are put into the order of the unsharded run,
and the kernels that the report shows are among those that the shards have kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from rich.console import Console

from jaxntk.errors import InputError
from jaxntk.runs import run_folder
from jaxntk.runs.finished import read_kernels
from jaxntk.runs.rows import (
    archive,
    read_json,
    write_bytes_atomic,
    write_json_atomic,
    write_rows_atomic,
)
from jaxntk.runs.run_folder import Record
from jaxntk.runs.shards import Shard, shard_folders
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import written
from jaxntk.studies.config import ExperimentConfig, validate
from jaxntk.studies.job import population
from jaxntk.studies.rank import publish
from jaxntk.studies.score import KEYS
from jaxntk.studies.summarize import (
    ByKey,
    Cost,
    Rows,
    summarize,
    telling_cells,
)

Archs = Int[np.ndarray, "num genes"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the folder of one shard holds.

    Args:
        folder: where it lies.
        record: what was asked.
        shard: which part it is.
        scores: rows of ``scores.jsonl`` by written form and seed.
        truths: rows of ``truth.jsonl`` by written form.
    """

    folder: Path
    record: Record
    shard: Shard
    scores: ByKey
    truths: ByKey


def merge(
    folders: Sequence[Path], out: Path | None, *, command: str, console: Console
) -> dict[str, Any]:
    """Merges the shards of a run; the result is the folder of a run like any other.

    Each file appears whole, the summary and the report last; a merge that was stopped is done again
    by the same command. The folders of the shards are left as they are.

    Args:
        folders: folders of shards, or folders that hold such folders.
        out: where the merged run goes; by default the first folder, or the one above it if it is
            that of a shard itself.
        command: the line that merges them again.
        console: where the table of results is shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: the shards are not of one run, one is missing, unfinished or there twice, or
            `out` holds another run.
    """
    parts = read_parts(folders)
    check_same(parts)
    first = parts[0].record
    archs = population(first.config)
    check_whole(parts, archs)
    if out is None:
        out = folders[0].parent if _is_shard(folders[0]) else folders[0]
    scores = {key: row for part in parts for key, row in part.scores.items()}
    truths = {key: row for part in parts for key, row in part.truths.items()}
    rows = Rows.of(first.config, archs, scores, truths)
    finished = [_read_finished(part) for part in parts]
    cost = Cost.together([cost for _, cost in finished])
    kernels = _telling_kernels(parts, rows)
    summary = summarize(first.config, first.experiment, rows, finished[0][0], cost)
    _open_merged(out, replace(first, command=command, shard=None, merged=len(parts)), parts)
    # As the unsharded run writes them: all cells at one initialisation, then at the next.
    by_draw = [cell[draw] for draw in range(first.config.num_inits) for cell in rows.scores]
    write_rows_atomic(out / run_folder.SCORES, by_draw)
    write_rows_atomic(out / run_folder.TRUTH, rows.truths)
    write_bytes_atomic(out / run_folder.KERNELS, kernels)
    compilation = {
        "compilations": cost.compilations,
        "seconds": cost.compile_seconds,
        "memory_bytes": cost.estimate_bytes,
    }
    write_json_atomic(out / run_folder.COMPILATION, compilation)
    publish(out, summary, console)
    return summary


def read_parts(folders: Sequence[Path]) -> list[Part]:
    """Reads all shards in some folders.

    Args:
        folders: folders of shards, or folders that hold such folders; at least one.

    Returns:
        The shards, in order of their numbers.

    Raises:
        InputError: a folder holds no shard or an unsharded run, or a file is broken.
    """
    parts = [_read_part(path) for folder in folders for path in _find(folder)]
    return sorted(parts, key=lambda part: part.shard.index)


def check_same(parts: Sequence[Part]) -> None:
    """Checks that shards are of one run, and that none is there twice.

    Args:
        parts: the shards, in order of their numbers.

    Raises:
        InputError: they are not; the line names two of them and what differs.
    """
    first = parts[0]
    for part in parts[1:]:
        difference = _first_difference(first, part)
        if difference is not None:
            name, one, other = difference
            got = f"{part.folder} with {name}={other!r}, where {first.folder} has {one!r}"
            raise InputError("merge", got, "give the shards of one run")
    for before, part in pairwise(parts):
        if before.shard == part.shard:
            got = f"shard {part.shard} twice, in {before.folder} and {part.folder}"
            raise InputError("merge", got, "give every shard once")


def check_whole(parts: Sequence[Part], archs: Archs) -> None:
    """Checks that shards make up their run: no cell is missing, and every shard has its own cells.

    Args:
        parts: shards of one run, each of them once.
        archs: the population of that run.

    Raises:
        InputError: a shard is missing or unfinished; the line names all of them and how to go on.
    """
    count, record = parts[0].shard.count, parts[0].record
    present = {part.shard.index for part in parts}
    missing = [Shard(index, count) for index in range(1, count + 1) if index not in present]
    unfinished: list[Shard] = []
    told = [f"no shard {_listed(missing)}"] if missing else []
    for part in parts:
        space = SPACES[record.config.space]
        names = [written(space, arch) for arch in part.shard.part(archs)]
        scores = {(name, seed) for name in names for seed in record.config.init_seeds}
        truths = {(name,) for name in names}
        _refuse_foreign(part, scores, truths)
        have, want = len(part.scores) + len(part.truths), len(scores) + len(truths)
        last = (run_folder.KERNELS, run_folder.FINISHED)
        if have < want or not all((part.folder / name).is_file() for name in last):
            unfinished.append(part.shard)
            told.append(f"shard {part.shard} unfinished ({have} of {want} rows)")
    if told:
        cure = f"run what is missing first: {(missing + unfinished)[0].command(record.command)}"
        raise InputError("merge", f"{_listed(told)} of {record.experiment}", cure)


def _find(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError("merge", f"{folder}, which is no folder", "give the --out folder of a run")
    if _is_shard(folder):
        return [folder]
    begun = [path for path in shard_folders(folder) if (path / run_folder.CONFIG).is_file()]
    if not begun:
        cure = "give the --out folder of a run that was made with --shard"
        raise InputError("merge", f"{folder} without shards", cure)
    return begun


def _is_shard(folder: Path) -> bool:
    path = folder / run_folder.CONFIG
    return path.is_file() and "shard" in read_json(path)


def _record(folder: Path) -> Record[ExperimentConfig]:
    return run_folder.read_record(folder, ExperimentConfig, validate)


def _read_part(folder: Path) -> Part:
    record = _record(folder)
    if record.shard is None:
        got = f"{folder}, which holds an unsharded run"
        raise InputError("merge", got, "give the folders of shards only")
    return Part(
        folder=folder,
        record=record,
        shard=record.shard,
        scores=run_folder.rows_by_key(folder / run_folder.SCORES, KEYS),
        truths=run_folder.rows_by_key(folder / run_folder.TRUTH, ("arch",)),
    )


def _first_difference(one: Part, other: Part) -> tuple[str, Any, Any] | None:
    changed = run_folder.first_difference(one.record, other.record)
    pairs = [
        ("shards", one.shard.count, other.shard.count),
        ("experiment", one.record.experiment, other.record.experiment),
        *([changed[:3]] if changed else []),
        ("data_sha256", one.record.data_sha256[:8], other.record.data_sha256[:8]),
    ]
    return next((pair for pair in pairs if pair[1] != pair[2]), None)


def _refuse_foreign(part: Part, scores: set[tuple], truths: set[tuple]) -> None:
    for name, there, own in (
        (run_folder.SCORES, part.scores, scores),
        (run_folder.TRUTH, part.truths, truths),
    ):
        foreign = next((key for key in there if key not in own), None)
        if foreign is not None:
            got = f"a row of {foreign[0]}, which is not in shard {part.shard}"
            cure = "remove that line, or run the shard anew in an empty folder"
            raise InputError(str(part.folder / name), got, cure)


def _listed(things: Sequence[object], most: int = 8) -> str:
    more = [f"{len(things) - most} more"] if len(things) > most else []
    return ", ".join([*map(str, things[:most]), *more])


def _read_finished(part: Part) -> tuple[dict[str, Any], Cost]:
    path = part.folder / run_folder.FINISHED
    row = read_json(path)
    try:
        return dict(row["data"]), Cost(**row["cost"])
    except (KeyError, TypeError, ValueError) as error:
        cure = f"remove the file and run the shard again: {part.record.command}"
        raise InputError(str(path), f"a record without all its fields ({error})", cure) from error


def _telling_kernels(parts: Sequence[Part], rows: Rows) -> bytes:
    """Takes the two kernels that the report shows from the shards that hold these cells."""
    # The best cell of all is the best of its shard, and the worst the worst, equals included.
    arrays: dict[str, Any] = {}
    for word, index in telling_cells(rows).items():
        part = parts[index % len(parts)]
        path = part.folder / run_folder.KERNELS
        stored = read_kernels(path)
        arch = rows.truths[index]["arch"]
        if str(stored[f"{word}_arch"]) != arch:
            got = f"the kernel of {stored[f'{word}_arch']} where that of {arch} is expected"
            cure = f"remove the file and run the shard again: {part.record.command}"
            raise InputError(str(path), got, cure)
        for name in (
            "labels",
            "metric",
            *(f"{word}_{what}" for what in ("gram", "arch", "accuracy")),
        ):
            arrays[name] = stored[name]
    return archive(arrays)


def _open_merged(out: Path, record: Record, parts: Sequence[Part]) -> None:
    """Begins the folder of a merged run, or writes one anew that was merged from the same."""
    run_folder.make_folder(out)
    if (out / run_folder.CONFIG).is_file() and _record(out).merged is None:
        cure = "give another folder with --out"
        raise InputError("out", f"{out}, which holds a run that was not merged", cure)
    if run_folder.holds_rows(out):
        run_folder.refuse_other(out, record, validate)
    run_folder.write_record(out, record, _environment(parts))


def _environment(parts: Sequence[Part]) -> Mapping[str, Any]:
    """Returns versions and machine of the first shard, and what was different in the others."""
    found = [read_json(part.folder / run_folder.ENVIRONMENT) for part in parts]
    others = {
        str(part.shard): {name: value for name, value in row.items() if value != found[0].get(name)}
        for part, row in zip(parts, found, strict=True)
    }
    different = {shard: row for shard, row in others.items() if row}
    return {**found[0], "different_in_shards": different} if different else found[0]
