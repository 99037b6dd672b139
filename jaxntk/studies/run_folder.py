"""The folder of a run: what was asked, under what, and the rows computed so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxntk.errors import InputError
from jaxntk.results.rows import environment, read_json, read_rows, write_json_atomic
from jaxntk.studies.config import LOCATIONS, ExperimentConfig

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
SCORES = "scores.jsonl"
TRUTH = "truth.jsonl"
KERNELS = "kernels.npz"
COMPILATION = "compilation.json"
SUMMARY = "summary.json"


def open_run(
    out: Path, experiment: str, command: str, config: ExperimentConfig, digest: str
) -> None:
    """Begins a run in a folder, or goes on with the one that is there.

    A run without a single row is begun anew, whatever its configuration.

    Args:
        out: the folder; made if it does not exist.
        experiment: name of the experiment.
        command: the line that starts it again.
        config: what is asked.
        digest: of the data that the configuration names, wherever they lie.

    Raises:
        InputError: the folder cannot be written to, or holds rows of another configuration or of
            other data.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        cure = "give a folder that can be made and written to"
        raise InputError("out", f"{out} ({error.strerror})", cure) from error
    if read_rows(out / SCORES) or read_rows(out / TRUTH):
        if not (out / CONFIG).exists():
            cure = "give another folder: these results do not say what they were computed with"
            raise InputError("out", f"{out} with results but no {CONFIG}", cure)
        _refuse_other(out, read_run_config(out), config)
        if read_json(out / CONFIG).get("data_sha256") != digest:
            cure = "give another folder, or the data that its rows were computed with"
            raise InputError("out", f"{out}, a run on other data or another table", cure)
        return
    row = {
        "experiment": experiment,
        "command": command,
        "config": config.to_json(),
        "data_sha256": digest,
    }
    # The configuration comes last: where it is present, the folder is whole.
    write_json_atomic(out / ENVIRONMENT, environment())
    write_json_atomic(out / CONFIG, row)


def read_run_config(out: Path) -> ExperimentConfig:
    """Reads the configuration of a run.

    Args:
        out: folder of the run.

    Returns:
        The configuration.

    Raises:
        InputError: the folder holds no run, or one this version cannot read.
    """
    if not (out / CONFIG).is_file():
        raise InputError("out", f"{out} without {CONFIG}", "give the folder of a run")
    row = read_json(out / CONFIG)
    if not isinstance(row.get("config"), dict):
        raise InputError(str(out / CONFIG), "no field 'config'", "give the folder of a run")
    return ExperimentConfig.from_json(row["config"])


def rows_by_key(path: Path, keys: tuple[str, ...]) -> dict[tuple, dict[str, Any]]:
    """Reads rows and indexes them.

    Args:
        path: a JSON-lines file; it may not exist yet.
        keys: fields that identify a row.

    Returns:
        The rows by the values of these fields.

    Raises:
        InputError: a row without these fields.
    """
    rows = read_rows(path)
    for number, row in enumerate(rows, start=1):
        if any(key not in row for key in keys):
            cure = "remove that line and run the same command again: only its row is computed anew"
            raise InputError(str(path), f"no {' and '.join(keys)} in line {number}", cure)
    return {tuple(row[key] for key in keys): row for row in rows}


def _refuse_other(out: Path, there: ExperimentConfig, asked: ExperimentConfig) -> None:
    old, new = _identity(there), _identity(asked)
    changed = [name for name in new if old[name] != new[name]]
    if changed:
        name = changed[0]
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        got = f"{out}, a run with {name}={old[name]!r} where {new[name]!r} is asked{more}"
        raise InputError(
            "out", got, "give another folder, remove this one, or resume it as it was begun"
        )


def _identity(config: ExperimentConfig) -> Mapping[str, Any]:
    return {name: value for name, value in config.to_json().items() if name not in LOCATIONS}
