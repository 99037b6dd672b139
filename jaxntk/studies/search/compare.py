"""Holds finished searches against each other, at equal evaluations and at equal seconds.

A search that reads a table pays for every architecture it had not asked for before what training it
takes, and so does one that chooses among finalists by a table for these. A pruning of a supernet
has chosen nothing before its end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console

from jaxntk.data.digits201 import load_digits201
from jaxntk.data.digits_vit import load_digits_vit
from jaxntk.errors import InputError
from jaxntk.results.compare_table import compare_tables
from jaxntk.results.search_plot import Curves, search_figure
from jaxntk.runs.publish import Publication, publish
from jaxntk.runs.rows import number_or_none, read_json
from jaxntk.runs.run_folder import (
    CONFIG,
    ENVIRONMENT,
    RESUMED_ON,
    SUMMARY,
    make_folder,
    refuse_experiment,
)
from jaxntk.studies.readings import TABLE
from jaxntk.studies.search.compare_config import CompareConfig, validate_compare
from jaxntk.studies.search.guided import HISTORY
from jaxntk.studies.search.prune import NAME as PRUNINGS
from jaxntk.studies.search.searchable import PROCESSES

NAME = "compare_searches"
FIGURE, TABLE_FILE = "compare_searches.png", "compare_searches.csv"
FINISHED = "give the folder of a finished search or pruning"
NEEDED = ("worth", "fresh", "seconds", "reference_seconds", "reference_fresh", "finalists")


@dataclass(frozen=True, eq=False)
class Run:
    """Searches of one kind.

    Args:
        name: of the kind.
        of: what choices are judged by.
        levels: what costs nothing.
        device: kind of the device whose seconds these are.
        worth: what the choice of each search is worth after each evaluation; NaN for nothing.
        seconds: that the search had taken by then, trainings among them.
    """

    name: str
    of: str
    levels: dict[str, float]
    device: str
    worth: Float[np.ndarray, "searches evaluations"]
    seconds: Float[np.ndarray, "searches evaluations"]

    @property
    def whole_seconds(self) -> float:
        """Seconds that a search takes in the mean; the longest, of what chooses at its end only."""
        last = self.seconds[:, -1]
        at_end = not np.isfinite(self.worth[:, :-1]).any() and self.worth.shape[1] > 1
        return float(last.max() if at_end else last.mean())

    def at(self, budget: float) -> Float[np.ndarray, " searches"]:
        """Says what each search would have chosen within a budget.

        Args:
            budget: seconds.

        Returns:
            The worth; NaN for a search that had chosen nothing by then.
        """
        done = (self.seconds <= budget).sum(axis=1)
        last = self.worth[np.arange(len(done)), np.maximum(done - 1, 0)]
        return np.where(done > 0, last, np.nan)


def run_compare(
    config: CompareConfig, out: Path, *, command: str, console: Console
) -> dict[str, Any]:
    """Compares searches.

    Args:
        config: which ones.
        out: folder of table, figure and summary.
        command: the line that makes them again.
        console: where the table is shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: a folder without a finished search, searches judged by different accuracies,
            one that needs to know what a training takes, or `out` of another experiment.
    """
    validate_compare(config)
    refuse_experiment(out, NAME)
    runs = [read_run(Path(folder), config.training_seconds) for folder in config.runs]
    names = [run.name for run in runs]
    runs = [
        replace(run, name=f"{run.name} ({folder})") if names.count(run.name) > 1 else run
        for run, folder in zip(runs, config.runs, strict=True)
    ]
    for run in runs:
        if run.of != runs[0].of:
            cure = f"compare searches that are judged by {runs[0].of}"
            raise InputError("runs", f"{run.name}, judged by {run.of}", cure)
        for level in ("best_there_is", "random"):
            if run.levels[level] != runs[0].levels[level]:
                got = f"{run.name}, where {level} is {run.levels[level]:.2f}"
                first = f"{runs[0].levels[level]:.2f}"
                cure = f"compare searches of one space within the same limits: of the first {first}"
                raise InputError("runs", got, cure)
        if run.device != runs[0].device:
            cure = f"compare seconds of one kind of device: of the first {runs[0].device}"
            raise InputError("runs", f"{run.name} on {run.device}", cure)
    entries = compare_entries(runs, config.budgets)
    summary = {
        "experiment": NAME,
        "command": command,
        "of": runs[0].of,
        "device": runs[0].device,
        "training_seconds": config.training_seconds,
        "entries": entries,
    }
    # That of as many random ones as a search evaluates: the same for none but equal searches.
    levels = {k: v for k, v in runs[0].levels.items() if k != "largest_of_random"}
    figure = search_figure(
        {run.name: Curves(run.worth, run.seconds) for run in runs}, levels, f"{runs[0].of}, %"
    )
    make_folder(out)
    shown = compare_tables(entries, runs[0].of)
    publish(out, summary, Publication({TABLE_FILE: entries}, {FIGURE: figure}, shown), console)
    return summary


def read_run(folder: Path, training_seconds: float | None) -> Run:
    """Reads what a run of searches or prunings chose and when.

    Args:
        folder: of the run.
        training_seconds: of a training to the end; None where it is not known.

    Returns:
        The run.

    Raises:
        InputError: no finished search or pruning, nothing that its choices are judged by, or a
            table was read and it is not known what a training takes.
    """
    if not all((folder / name).is_file() for name in (SUMMARY, CONFIG, ENVIRONMENT)):
        raise InputError("runs", str(folder), FINISHED)
    summary, config = read_json(folder / SUMMARY), read_json(folder / CONFIG)["config"]
    if summary.get("experiment") == PRUNINGS:
        return _read_prunings(folder, summary)
    if not (folder / HISTORY).is_file():
        raise InputError("runs", str(folder), FINISHED)
    with np.load(folder / HISTORY) as file:
        if not set(NEEDED) <= set(file.files):
            cure = "run its command again: rows are kept, the history is written anew"
            raise InputError("runs", f"{folder}, of an older version", cure)
        worth, fresh, seconds, reference, references, finalists = (file[name] for name in NEEDED)
    if not summary["levels"]:
        cure = "give searches of a space whose accuracies are known"
        raise InputError("runs", f"{folder}, judged by its score", cure)
    selects = config["select"] is not None
    looked = [goal.removeprefix(TABLE) for goal in config["goals"] if goal.startswith(TABLE)]
    kind = device_kind(folder)
    prices = {
        truth: look_seconds(truth, kind) if training_seconds is None else training_seconds
        for truth in (*looked, *([config["select"]] if selects else ()))
    }
    unknown = [truth for truth, price in prices.items() if price is None]
    if unknown:
        cure = f"say what a training takes on {kind}: {folder} reads {unknown[0]}"
        raise InputError("training_seconds", None, cure)
    price = price_of(looked, prices)
    taken = np.cumsum(seconds + price * fresh, axis=1) + reference + price * references
    name = f"{config['algorithm']}, {' + '.join(config['goals'])}"
    if selects:
        # What a goal has looked up already is trained for; what else a finalist needs is not.
        taken = taken + finalists * (price_of(tuple(prices), prices) - price)
        name += f", best of {config['finalists']} trained"
    return Run(name, summary["of"], summary["levels"], kind, worth, taken)


def price_of(truths: Iterable[str], prices: Mapping[str, float | None]) -> float:
    """Says what it takes to know some accuracies of an architecture.

    Args:
        truths: the accuracies, such as ``cifar10/test/200``.
        prices: of each alone, in seconds.

    Returns:
        Seconds; accuracies of one table come out of one training.

    Example:
        >>> prices = {"digits201/valid": 8.0, "digits201/test": 8.0, "cifar10/test/200": 90.0}
        >>> price_of(prices, prices)
        98.0
    """
    tables: dict[str, float] = {}
    for truth in truths:
        table = truth.split("/")[0]
        tables[table] = max(tables.get(table, 0.0), prices[truth] or 0.0)
    return sum(tables.values(), 0.0)


def _read_prunings(folder: Path, summary: Mapping[str, Any]) -> Run:
    """Reads prunings of a supernet as searches that choose a cell after their last supernet."""
    searches, supernets = summary["searches"], summary["supernets_a_search"]
    worth = np.full((len(searches), supernets), np.nan)
    worth[:, -1] = [np.nan if each["accuracy"] is None else each["accuracy"] for each in searches]
    shares = np.arange(1, supernets + 1) / supernets
    seconds = np.outer([each["seconds"] for each in searches], shares)
    name = f"pruning, {' + '.join(summary['goals'])}"
    return Run(name, summary["of"], summary["levels"], device_kind(folder), worth, seconds)


def apart(totals: Iterable[float]) -> list[float]:
    """Chooses budgets among what runs took.

    Args:
        totals: seconds; 0 for what took none.

    Returns:
        The longest, and of the others those that are at least a half longer than the next shorter
        one that is kept.

    Example:
        >>> apart([0.0, 1.0, 1.2, 2.0, 9.0, 10.0])
        [1.0, 2.0, 10.0]
    """
    kept: list[float] = []
    for total in sorted(total for total in totals if total > 0):
        if kept and total < 1.5 * kept[-1]:
            continue
        kept.append(total)
    longest = max(totals, default=0.0)
    return [*kept[:-1], longest] if kept and longest < 1.5 * kept[-1] else kept


def device_kind(folder: Path) -> str:
    """Says on what kind of device a run was computed.

    Args:
        folder: of the run.

    Returns:
        Its kind.

    Raises:
        InputError: the run does not say, or there are several.
    """
    kinds: list[str] = []
    for path in (folder / ENVIRONMENT, *sorted(folder.glob(f"{PROCESSES}/{ENVIRONMENT}"))):
        made = read_json(path)
        if not isinstance(made.get("device"), dict):
            raise InputError("runs", str(folder), FINISHED)
        kinds += [str(each.get("kind")) for each in (made["device"], *made.get(RESUMED_ON, []))]
    if len(set(kinds)) > 1:
        cure = "give a run whose seconds are of one kind of device"
        raise InputError("runs", f"{folder}, computed on {' and '.join(sorted(set(kinds)))}", cure)
    return kinds[0]


def look_seconds(truth: str, kind: str = "cpu") -> float | None:
    """Says what an accuracy of a table took.

    Args:
        truth: the table and its column, such as ``digits201/test``.
        kind: of the device that its price is asked for.

    Returns:
        Seconds on one CPU core, of all trainings that an accuracy is the mean of, with their tests;
        None for tables that do not come with the package, and for other devices.

    Example:
        >>> look_seconds("cifar10/test/200")
    """
    tables = {"digits201": load_digits201, "digits_vit": load_digits_vit}
    load = tables.get(truth.split("/")[0])
    return None if load is None or kind != "cpu" else load().trainings.seconds_a_subject


def compare_entries(runs: list[Run], budgets: Iterable[float]) -> list[dict[str, Any]]:
    """Says what each kind of search chooses at equal evaluations, and within each budget.

    Args:
        runs: the searches.
        budgets: seconds; none for what searches of each run took, where that is :func:`apart`.

    Returns:
        For each kind an entry after as many evaluations as the shortest of all runs has, ``whole``,
        and one for each budget. Mean and standard deviation are over the searches that had chosen
        anything by then.
    """
    totals = [run.whole_seconds for run in runs]
    asked = sorted(set(budgets)) or apart(totals)
    common = min(run.worth.shape[1] for run in runs)
    entries = []
    for run in runs:
        seconds = float(run.seconds[:, common - 1].mean())
        entries.append(_entry(run, run.worth[:, common - 1], float(common), seconds, whole=True))
        for budget in asked:
            done = float((run.seconds <= budget).sum(axis=1).mean())
            entries.append(_entry(run, run.at(budget), done, budget, whole=False))
    return entries


def _entry(
    run: Run,
    values: Float[np.ndarray, " searches"],
    evaluations: float,
    seconds: float,
    *,
    whole: bool,
) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    return {
        "search": run.name,
        "budget_seconds": seconds,
        "whole": whole,
        "evaluations": float(evaluations),
        "searches": len(values),
        "chose": len(known),
        "mean": float(known.mean()) if len(known) else None,
        "standard_deviation": number_or_none(known.std(ddof=1)) if len(known) > 1 else None,
        "lowest": float(known.min()) if len(known) else None,
        "highest": float(known.max()) if len(known) else None,
    }
