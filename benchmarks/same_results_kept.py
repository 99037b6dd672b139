"""What of a run is compared by :mod:`benchmarks.same_results`, and where two runs differ first."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

OUTCOME, FILES, PROGRAMS = "outcome.txt", "files.txt", "programs.txt"
END = "(end of the file)"

MEASURED = (
    # times
    "seconds",
    "train_seconds",
    "test_seconds",
    "metric_seconds",
    "compile_seconds",
    "prepare_seconds",
    "total_seconds",
    "reference_seconds",
    "budget_seconds",
    "seconds_a_cell",
    "seconds_a_kernel",
    "seconds_of_all",
    "seconds_of_this_call",
    "parts",
    "rates",
    # memory
    "memory",
    "memory_bytes",
    "estimate_bytes",
    "peak_rss_bytes",
    # machine, versions, and how a run was started
    "command",
    "code_sha256",
    "versions",
    "device",
    "system",
    "machine",
    "cpu_count",
    "git",
    "resumed_on",
    "different_in_shards",
)
"""Fields of files, columns of tables and names of arrays that two runs need not have in common;
``parts`` are the seconds of a ViNTK's kernels, ``rates`` the cells a second of strategies."""
READ = (".jsonl", ".json", ".csv", ".npz", ".md", ".txt", ".tex")
NAMED = (".html", ".png")
"""Files whose content is kept, and those of which only the name is."""


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Writes lines into a file, in a folder that is made.

    Args:
        path: the file.
        lines: without their ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def keep_files(folder: Path, kept: Path, plain: Callable[[str], str]) -> None:
    """Writes what is compared of the files of a run.

    Args:
        folder: of the run.
        kept: folder to write to.
        plain: takes paths out of a line.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (*READ, *NAMED) and path.is_file():
            # A cache names its files by chance and by the code; they are read as one.
            name = re.sub(r"[0-9a-f]{16,}", "HEX", path.relative_to(folder).as_posix())
            found.setdefault(name, []).append(path)
    write_lines(kept / FILES, sorted(found))
    for name, paths in found.items():
        if paths[0].suffix in READ:
            lines = [plain(line) for line in kept_lines(paths)]
            write_lines(kept / "files" / f"{name}.txt", lines)


def keep_programs(folder: Path, kept: Path) -> None:
    """Writes a digest of each program that the processes of a run compiled, as often as they did.

    Args:
        folder: that JAX dumped them to.
        kept: folder to write to.
    """
    lines = []
    for path in folder.rglob("*.mlir"):
        name = re.sub(r"^jax_ir\d+_|_compile$", "", path.stem)
        lines.append(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    write_lines(kept / PROGRAMS, sorted(lines))


def kept_lines(paths: Sequence[Path]) -> list[str]:
    """Reads what is compared of a file.

    Args:
        paths: the file, or several that are read as one.

    Returns:
        Its lines: of JSON a line a value, of rows in an order of their own; of arrays a line each.
    """
    suffix = paths[0].suffix
    texts = [] if suffix == ".npz" else [path.read_text("utf-8") for path in paths]
    if suffix == ".jsonl":
        return _row_lines([line for text in texts for line in text.splitlines()])
    if suffix == ".npz":
        return [line for path in paths for line in _array_lines(path)]
    if suffix == ".json":
        return [line for text in texts for line in flat(unmeasured(json.loads(text)))]
    if suffix == ".csv":
        return [line for text in texts for line in _table_lines(text)]
    return [line for text in texts for line in text.splitlines()]


def unmeasured(value: Any) -> Any:
    """Takes what is measured out of a JSON value.

    Args:
        value: the value.

    Returns:
        It without the fields that :data:`MEASURED` names, however deep they are.

    Example:
        >>> unmeasured({"ops": "421211", "seconds": 1.5, "cost": {"total_seconds": 2.0}})
        {'ops': '421211', 'cost': {}}
    """
    if isinstance(value, dict):
        return {name: unmeasured(each) for name, each in value.items() if name not in MEASURED}
    return [unmeasured(each) for each in value] if isinstance(value, list) else value


def flat(value: Any, place: str = "") -> Iterator[str]:
    """Writes a JSON value as lines, one for each number, text and empty list in it.

    Args:
        value: the value.
        place: where it stands.

    Yields:
        The lines, fields in alphabetical order.

    Example:
        >>> list(flat({"b": [1, 2.5], "a": {}}))
        ['a = {}', 'b[0] = 1', 'b[1] = 2.5']
    """
    if isinstance(value, dict) and value:
        for name in sorted(value):
            yield from flat(value[name], f"{place}.{name}" if place else name)
    elif isinstance(value, list) and value:
        for at, each in enumerate(value):
            yield from flat(each, f"{place}[{at}]")
    else:
        yield f"{place} = {json.dumps(value, ensure_ascii=False)}"


def _row_lines(lines: Sequence[str]) -> list[str]:
    rows = sorted(json.dumps(unmeasured(json.loads(line)), sort_keys=True) for line in lines)
    return [line for at, row in enumerate(rows) for line in flat(json.loads(row), f"row {at}")]


def _table_lines(text: str) -> list[str]:
    rows = list(csv.reader(io.StringIO(text)))
    stay = [at for at, name in enumerate(rows[0]) if name not in MEASURED] if rows else []
    return [json.dumps([row[at] for at in stay], ensure_ascii=False) for row in rows]


def _array_lines(path: Path) -> list[str]:
    with np.load(path, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in sorted(arrays.files) if name not in MEASURED}
    return [
        f"{name} {each.dtype} {each.shape} {hashlib.sha256(each.tobytes()).hexdigest()}"
        for name, each in found.items()
    ]


def first_difference(one: Path, other: Path) -> str | None:
    """Says where the results of a run differ first: how it ended, then in rows, then elsewhere.

    Args:
        one: what is kept of the run.
        other: of the same run elsewhere.

    Returns:
        The file, its line and what stands there in both; None for equal results.
    """
    there = {path.relative_to(each) for each in (one, other) for path in each.rglob("*.txt")}
    names = sorted(there, key=lambda name: (name.name != OUTCOME, ".jsonl" not in name.name, name))
    for name in names:
        if name.name != PROGRAMS:
            difference = _difference_of(one / name, other / name)
            if difference is not None:
                return f"{name}, {difference}"
    return None


def _difference_of(one: Path, other: Path) -> str | None:
    for path, place in ((one, "the second"), (other, "the first")):
        if not path.is_file():
            return f"in {place} only"
    lines = [path.read_text("utf-8").splitlines() for path in (one, other)]
    for at, (old, new) in enumerate(zip_longest(*lines, fillvalue=END), start=1):
        if old != new:
            return f"line {at}: {old} | {new}"
    return None


def program_difference(one: Path, other: Path) -> str | None:
    """Says which programs of a run differ.

    Args:
        one: what is kept of the run.
        other: of the same run elsewhere.

    Returns:
        How many there are on one side only, and their names; None for equal programs.
    """
    files = [each / PROGRAMS for each in (one, other)]
    old, new = (
        Counter(file.read_text("utf-8").splitlines() if file.is_file() else ()) for file in files
    )
    gone, come = old - new, new - old
    if not gone and not come:
        return None
    names = sorted({line.split()[0] for line in gone + come})
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{gone.total()} of {old.total()} gone, {come.total()} new: {shown}"
