"""How a study with a configuration of its own runs: from its configuration to its figure."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol

from rich.console import Console

from jaxntk.runs import run_folder
from jaxntk.runs.config import AnyConfig
from jaxntk.runs.publish import Publication, publish

Rows = Mapping[tuple, Mapping[str, Any]]


class Prepared(Protocol):
    """Everything a configuration determines before the first row."""

    @property
    def config(self) -> Any:
        """What is asked, with all that is named by default filled in."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the data that the configuration names."""
        ...


@dataclass(frozen=True)
class Study(Generic[AnyConfig]):
    """The steps of a study.

    Args:
        name: of the experiment.
        keys: fields that identify a row.
        validate: refuses what can be refused before data are read.
        prepare: checks a configuration and loads what it names; writes nothing.
        compute: appends the rows that are missing to the file of rows in a folder.
        summarize: ``(prepared, rows, console) -> summary``, a JSON object.
        report: ``(rows, summary) -> tables, figures and what the terminal shows``.
    """

    name: str
    keys: tuple[str, ...]
    validate: Callable[[AnyConfig], None]
    prepare: Callable[[AnyConfig], Prepared]
    compute: Callable[[Any, Path, Console], None]
    summarize: Callable[[Any, Rows, Console], Mapping[str, Any]]
    report: Callable[[Rows, Mapping[str, Any]], Publication]


def run_study(
    study: Study[AnyConfig],
    config: AnyConfig,
    out: Path,
    *,
    command: str,
    console: Console,
) -> dict[str, Any]:
    """Runs a study; the same folder again goes on with what is missing.

    Args:
        study: its steps.
        config: the configuration.
        out: folder of the run.
        command: the line that starts it again.
        console: where progress and results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: anything wrong with configuration, data or folder.
    """
    start = time.perf_counter()
    prepared = study.prepare(config)
    record = run_folder.Record(
        experiment=study.name,
        command=command,
        config=prepared.config,
        data_sha256=prepared.digest,
    )
    run_folder.open_run(out, record, study.validate)
    study.compute(prepared, out, console)
    rows = run_folder.rows_by_key(out / run_folder.SCORES, study.keys)
    found = study.summarize(prepared, rows, console)
    seconds = {"seconds_of_this_call": time.perf_counter() - start}
    summary = {"experiment": study.name} | dict(found) | seconds
    publish(out, summary, study.report(rows, summary), console)
    return summary
