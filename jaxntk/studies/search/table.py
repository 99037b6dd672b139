"""How well searches choose from a complete benchmark table: many searches at once, start to figure.

An evaluation looks up a cell's validation accuracy; a search's choice after k evaluations is the
best of what it has seen so far, and what counts is that cell's test accuracy. A cell that is asked
for again counts again, as it does in the published comparisons.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from rich.console import Console

from jaxntk.data.truths import check_truth, find_table, table_look_up
from jaxntk.errors import InputError
from jaxntk.results.search_plot import Curves, search_figure
from jaxntk.results.search_table import search_table
from jaxntk.runs import run_folder
from jaxntk.runs.config import Config
from jaxntk.runs.publish import Publication, publish
from jaxntk.runs.run_folder import digest_of
from jaxntk.search import (
    Search,
    SearchSpace,
    code_of,
    genetic_algorithm,
    random_search,
    regularised_evolution,
    run_searches,
)
from jaxntk.spaces import nasbench201
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.studies.config import check_seed

NAME = "search_table"
FIGURE, TABLE = "search.png", "search.csv"
CELLS = SearchSpace(SPACES[NASBENCH201].sizes)
"""NAS-Bench-201 as a space to search."""


@dataclass(frozen=True, kw_only=True)
class SearchTableConfig(Config):
    """Search NAS-Bench-201's cells by accuracies from a table."""

    select: str = "digits201/valid"
    """What a search sees: a truth such as digits201/valid or cifar10-valid/valid/200."""
    report: str = "digits201/test"
    """What its choice is worth: another truth, such as cifar10/test/200."""
    evaluations: tuple[int, ...] = (100, 200, 500)
    """Numbers of evaluations after which choices are compared."""
    searches: int = 500
    """Independent searches of each kind."""
    population: int = 10
    """Of regularised evolution."""
    sample: int = 3
    """Cells that its tournaments draw."""
    generation: int = 20
    """Cells of a generation of the genetic algorithm."""
    seed: int = 0
    """Of all searches."""
    data_dir: str | None = None
    """Folder of data files; by default what the environment variable JAXNTK_DATA names."""
    table: str | None = None
    """NAS-Bench-201's table nasbench201.csv.gz; by default looked for in data_dir."""


def validate_search_table(config: SearchTableConfig) -> None:
    """Checks everything that can be checked before a table is read.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    if not config.evaluations or min(config.evaluations) < 1:
        raise InputError("evaluations", list(config.evaluations), "give at least 1")
    if list(config.evaluations) != sorted(set(config.evaluations)):
        raise InputError("evaluations", list(config.evaluations), "give rising numbers")
    if config.searches < 2:
        raise InputError("searches", config.searches, "give at least 2: a spread is shown")
    check_seed("seed", config.seed)
    for name in ("select", "report"):
        check_truth(name, getattr(config, name), SPACES[NASBENCH201])
    _ = table_searches(config)


def table_searches(config: SearchTableConfig) -> dict[str, Search]:
    """Makes the searches of a configuration.

    Args:
        config: the configuration.

    Returns:
        The searches by name, the baseline first.

    Raises:
        InputError: a size that a search cannot have.
    """
    elite = max(1, config.generation // 10) if config.generation > 1 else 0
    return {
        "random search": random_search(CELLS),
        "regularised evolution": regularised_evolution(
            CELLS, population=config.population, sample=config.sample
        ),
        "genetic algorithm": genetic_algorithm(CELLS, population=config.generation, elite=elite),
    }


def run_search_table(
    config: SearchTableConfig, out: Path, *, command: str, console: Console
) -> dict[str, Any]:
    """Runs all searches and compares what they choose.

    Args:
        config: the configuration.
        out: folder of the results; those of the same configuration are replaced.
        command: the line that makes them again.
        console: where results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: anything wrong with configuration, table or folder.
    """
    validate_search_table(config)
    run_folder.refuse_experiment(out, NAME)
    table = find_table(config.data_dir, config.table)
    cells = nasbench201.enumerate_space()
    order = np.argsort(np.asarray(code_of(jnp.asarray(cells), CELLS.sizes)))
    space = SPACES[NASBENCH201]
    seen, worth = (
        table_look_up(truth, space, table)(cells)[order] for truth in (config.select, config.report)
    )
    record = run_folder.Record(
        experiment=NAME, command=command, config=config, data_sha256=digest_of(seen, worth)
    )
    if (out / run_folder.SUMMARY).exists():
        # There are no rows by which the folder would be known.
        run_folder.refuse_other(out, record, validate_search_table)
    run_folder.open_run(out, record, validate_search_table)
    entries, curves = [], {}
    for index, (name, search) in enumerate(table_searches(config).items()):
        start = time.perf_counter()
        codes = np.asarray(_histories(search, seen, config, index))
        seconds = time.perf_counter() - start
        chosen = choices(codes, seen)
        curves[name] = Curves(worth[chosen])
        entries += [_entry(name, at, chosen, worth, seconds) for at in config.evaluations]
        console.print(f"{name}: {config.searches} searches in {seconds:.1f} s", highlight=False)
    summary = {
        "experiment": NAME,
        "command": command,
        "config": config.to_json(),
        "best_in_table": float(worth.max()),
        "worth_of_best_selected": float(worth[int(np.argmax(seen))]),
        "entries": entries,
    }
    levels = {"best_there_is": summary["best_in_table"]}
    line = f"best in the table {worth.max():.2f}; chosen by {config.select} from all cells "
    publication = Publication(
        tables={TABLE: entries},
        figures={FIGURE: search_figure(curves, levels, f"{config.report}, %")},
        shown=[
            search_table(entries, config.report),
            f"{line}{summary['worth_of_best_selected']:.2f}",
        ],
    )
    publish(out, summary, publication, console)
    return summary


def choices(
    codes: Int[np.ndarray, "searches evaluations"], seen: Float[np.ndarray, " cells"]
) -> Int[np.ndarray, "searches evaluations"]:
    """Says what each search would choose after each evaluation: the first of the best it saw.

    Args:
        codes: what was evaluated.
        seen: the score of every cell.

    Returns:
        Numbers of cells.

    Example:
        >>> choices(np.array([[2, 0, 1]]), np.array([0.5, 0.9, 0.4]))
        array([[2, 0, 1]])
    """
    scores = seen[codes]
    best = np.maximum.accumulate(scores, axis=1)
    better = np.concatenate([np.ones((len(codes), 1), bool), best[:, 1:] > best[:, :-1]], axis=1)
    at = np.maximum.accumulate(np.where(better, np.arange(codes.shape[1]), 0), axis=1)
    return np.take_along_axis(codes, at, axis=1)


def _histories(
    search: Search, seen: Float[np.ndarray, " cells"], config: SearchTableConfig, index: int
) -> Int[Array, "searches evaluations"]:
    """Codes of what independent searches of one kind evaluate."""
    scores = jnp.asarray(seen, jnp.float32)

    def objective(archs: Array) -> Array:
        return scores[code_of(archs, CELLS.sizes)]

    key = jax.random.fold_in(jax.random.key(config.seed), index)
    keys = jax.random.split(key, config.searches)
    history = run_searches(search, objective, keys, max(config.evaluations))
    return code_of(history.archs, CELLS.sizes)


def _entry(
    name: str, evaluations: int, chosen: np.ndarray, worth: np.ndarray, seconds: float
) -> Mapping[str, Any]:
    """What a kind of search gives for a number of evaluations."""
    found = worth[chosen[:, evaluations - 1]]
    low, high = np.percentile(found, (2.5, 97.5))
    return {
        "search": name,
        "evaluations": evaluations,
        "mean": float(found.mean()),
        "standard_deviation": float(found.std(ddof=1)),
        "standard_error": float(found.std(ddof=1) / np.sqrt(len(found))),
        "percentile_2.5": float(low),
        "median": float(np.median(found)),
        "percentile_97.5": float(high),
        "regret": float(worth.max() - found.mean()),
        "searches": len(found),
        "seconds_of_all": seconds,
    }
