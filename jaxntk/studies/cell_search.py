"""Searches NAS-Bench-201's cells by kernels or other scores, several searches side by side.

Searches go on in step, so that what they ask for is trained together, and a function is scored once
for all of them. Every score is on disk before the next is begun: a run that is killed at any moment
repeats its steps from these and goes on to the same history.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Bool, Float64, Int
from rich.console import Console

from jaxntk.results.plots import cell_figure
from jaxntk.results.publish import Publication, publish
from jaxntk.results.rows import archive, write_bytes_atomic
from jaxntk.results.search_plot import search_figure
from jaxntk.results.search_table import chosen_table
from jaxntk.search import (
    Search,
    SearchSpace,
    code_of,
    genetic_algorithm,
    limited,
    random_search,
    regularised_evolution,
)
from jaxntk.spaces import nasbench201
from jaxntk.studies import run_folder
from jaxntk.studies.cell_scores import CellScores
from jaxntk.studies.cell_search_config import CellSearchConfig, validate_cell_search
from jaxntk.studies.progress import track
from jaxntk.studies.search_table import CELLS
from jaxntk.studies.truth import find_table, table_look_up

NAME = "cell_search"
HISTORY, TABLE = "history.npz", "search.csv"
FIGURE, BEST = "search.png", "best_cell.png"


class Searched(NamedTuple):
    """What searches asked for, and what they were told.

    Args:
        archs: the cells.
        scores: what each search was told; NaN for failures.
        seconds: that scoring them took, 0 for what the same search had asked for before.
        reference_seconds: that scoring the cells took among which ranks are taken.
    """

    archs: Int[np.ndarray, "searches evaluations 6"]
    scores: Float64[np.ndarray, "searches evaluations"]
    seconds: Float64[np.ndarray, "searches evaluations"]
    reference_seconds: Float64[np.ndarray, ""]


def run_cell_search(
    config: CellSearchConfig, out: Path, *, command: str, console: Console
) -> dict[str, Any]:
    """Runs the searches of a configuration and says what their choices are worth.

    The same folder again goes on with what is missing.

    Args:
        config: the configuration.
        out: folder of the run.
        command: the line that starts it again.
        console: where progress and results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: anything wrong with configuration, data, table or folder, or a limit that no
            cell keeps.
    """
    start = time.perf_counter()
    validate_cell_search(config)
    scores = CellScores(config, out, console)
    space = _space(config, scores)
    table = find_table(config.data_dir, config.table)
    cells = nasbench201.enumerate_space()
    worth = table_look_up(config.truth, table)(cells)
    select = None if config.select is None else table_look_up(config.select, table)(cells)
    parts = [scores.study.digest, worth, *([] if select is None else [select])]
    record = run_folder.Record(
        experiment=NAME,
        command=command,
        config=config,
        data_sha256=run_folder.digest_of(*parts),
    )
    run_folder.open_run(out, record, validate_cell_search)
    scores.resume()
    found = _searched(config, space, scores, console)
    choices = np.stack([
        _choices(archs, told, select, config.finalists)
        for archs, told in zip(found.archs, found.scores, strict=True)
    ])
    accuracies = worth[nasbench201.indices_of(choices.reshape(-1, 6))]
    curves = accuracies.reshape(config.searches, config.evaluations)
    allowed = _allowed(space, cells)
    best, final = float(worth[allowed].max()), curves[:, -1]
    summary = {
        "experiment": NAME,
        "searches": _entries(found, choices[:, -1], final, best),
        "mean": float(final.mean()),
        "standard_deviation": float(final.std(ddof=1)) if len(final) > 1 else None,
        "best_in_table": best,
        "baselines": _baselines(config, scores, worth, cells, allowed),
        "functions_scored": scores.scored,
        "seconds_of_this_call": time.perf_counter() - start,
    }
    write_bytes_atomic(out / HISTORY, archive(found._asdict()))
    publish(out, summary, report(summary, curves, config), console)
    return summary


def _entries(
    found: Searched,
    chosen: Int[np.ndarray, "searches 6"],
    accuracies: Float64[np.ndarray, " searches"],
    best: float,
) -> list[dict[str, Any]]:
    """What each search chose, what that is worth and what it cost."""
    whole = zip(chosen, accuracies, found.archs, found.seconds, strict=True)
    return [
        {
            "ops": nasbench201.format_ops(arch),
            "arch": nasbench201.decode(arch),
            "accuracy": float(accuracy),
            "regret": float(best - accuracy),
            "functions": len({nasbench201.tied_function_form(each) for each in archs}),
            "seconds": float(seconds.sum() + found.reference_seconds),
        }
        for arch, accuracy, archs, seconds in whole
    ]


def _space(config: CellSearchConfig, scores: CellScores) -> SearchSpace:
    if config.max_params is None:
        return CELLS
    sizes, side = scores.study.job.sizes, scores.study.x_train.shape[1]
    cells = nasbench201.enumerate_space()
    counts = nasbench201.population_costs(cells, **sizes, image_size=side).params
    order = np.argsort(np.asarray(code_of(jnp.asarray(cells), CELLS.sizes)))
    small = jnp.asarray(counts[order] <= config.max_params)

    def admits(arch: Int[Array, "6"]) -> Bool[Array, ""]:
        return small[code_of(arch, CELLS.sizes)]

    return limited(CELLS, admits, jax.random.key(config.search_seed))


def make_search(config: CellSearchConfig, space: SearchSpace) -> Search:
    """Makes the search of a configuration.

    Args:
        config: the configuration.
        space: what can be chosen.

    Returns:
        The search.

    Raises:
        InputError: a size that it cannot have.
    """
    if config.algorithm == "random":
        return random_search(space)
    if config.algorithm == "evolution":
        return regularised_evolution(space, population=config.population, sample=config.sample)
    elite = max(1, config.population // 10)
    return genetic_algorithm(
        space, population=config.population, tournament=config.sample, elite=elite
    )


def _searched(
    config: CellSearchConfig, space: SearchSpace, scores: CellScores, console: Console
) -> Searched:
    """Runs all searches in step."""
    search = make_search(config, space)
    ask, tell = jax.jit(jax.vmap(search.ask)), jax.jit(jax.vmap(search.tell))
    key = jax.random.key(config.search_seed)
    states = jax.vmap(search.init)(jax.random.split(key, config.searches))
    cells = _reference_cells(config, space, key)
    reference = None if cells is None else scores(cells)
    forms = {} if cells is None else {nasbench201.tied_function_form(arch): arch for arch in cells}
    archs, told, seconds = [], [], []
    # What the reference has scored is paid for with it.
    seen: list[set[str]] = [set(forms) for _ in range(config.searches)]
    rounds = -(-config.evaluations // search.batch)
    for _ in track(range(rounds), "rounds", console):
        asked, states = ask(states)
        cells = np.asarray(asked)
        flat = cells.reshape(-1, 6)
        values = _told(config, scores(flat), reference).reshape(cells.shape[:2])
        states = tell(states, asked, jnp.asarray(values, jnp.float32))
        archs.append(cells)
        told.append(values)
        seconds.append(_fresh_seconds(scores, cells, seen))
    most = config.evaluations
    whole = [np.concatenate(each, axis=1)[:, :most] for each in (archs, told, seconds)]
    paid = sum(scores.seconds(arch) for arch in forms.values())
    return Searched(whole[0], whole[1], whole[2], np.array(paid, np.float64))


def _reference_cells(
    config: CellSearchConfig, space: SearchSpace, key: Any
) -> Int[np.ndarray, "reference 6"] | None:
    """Draws the random cells among which the ranks of several goals are taken."""
    if len(config.goals) == 1:
        return None
    drawing = random_search(space, batch=config.reference)
    cells, _ = drawing.ask(drawing.init(jax.random.fold_in(key, 1)))
    return np.asarray(cells)


def _told(
    config: CellSearchConfig,
    values: Float64[np.ndarray, "num goals"],
    reference: Float64[np.ndarray, "reference goals"] | None,
) -> Float64[np.ndarray, " num"]:
    """Makes one score of all goals: the weighted mean of ranks among random cells."""
    if reference is None:
        return values[:, 0]
    weights = np.array(config.weights or (1.0,) * len(config.goals))
    pairs = zip(values.T, reference.T, strict=True)
    ranks = np.stack([_ranks_among(known, column) for column, known in pairs], axis=1)
    return ranks @ (weights / weights.sum())


def _ranks_among(
    known: Float64[np.ndarray, " reference"], column: Float64[np.ndarray, " num"]
) -> Float64[np.ndarray, " num"]:
    """Percentiles among known scores, those that failed below all others; NaN for failures."""
    ranks, valid = np.full(column.shape, np.nan), np.isfinite(column)
    below = np.where(np.isfinite(known), known, -np.inf)
    ranks[valid] = scipy.stats.percentileofscore(below, column[valid], kind="mean")
    return ranks


def _fresh_seconds(
    scores: CellScores, cells: Int[np.ndarray, "searches batch 6"], seen: list[set[str]]
) -> Float64[np.ndarray, "searches batch"]:
    """What each search would have paid by itself: a function costs the first time only."""
    paid = np.zeros(cells.shape[:2])
    for search, batch in enumerate(cells):
        for at, arch in enumerate(batch):
            form = nasbench201.tied_function_form(arch)
            if form not in seen[search]:
                seen[search].add(form)
                paid[search, at] = scores.seconds(arch)
    return paid


def _incumbents(
    archs: Int[np.ndarray, "evaluations 6"], told: Float64[np.ndarray, " evaluations"]
) -> Int[np.ndarray, "evaluations 6"]:
    """The best cell after each evaluation, the first of equals; the first of all until then."""
    scores = np.where(np.isfinite(told), told, -np.inf)
    best = np.maximum.accumulate(scores)
    better = np.concatenate([[True], best[1:] > best[:-1]])
    return archs[np.maximum.accumulate(np.where(better, np.arange(len(told)), 0))]


def _choices(
    archs: Int[np.ndarray, "evaluations 6"],
    told: Float64[np.ndarray, " evaluations"],
    select: Float64[np.ndarray, " cells"] | None,
    finalists: int,
) -> Int[np.ndarray, "evaluations 6"]:
    """The best cell after each evaluation, or of the best few functions the one a table prefers."""
    if select is None:
        return _incumbents(archs, told)
    scores = np.where(np.isfinite(told), told, -np.inf)
    forms = [nasbench201.tied_function_form(arch) for arch in archs]
    found = []
    for num in range(1, len(archs) + 1):
        best: dict[str, Int[np.ndarray, "6"]] = {}
        for at in np.argsort(-scores[:num], kind="stable"):
            best.setdefault(forms[at], archs[at])
            if len(best) == finalists:
                break
        few = np.stack(list(best.values()))
        found.append(few[int(np.argmax(select[nasbench201.indices_of(few)]))])
    return np.stack(found)


def _allowed(space: SearchSpace, cells: Int[np.ndarray, "cells 6"]) -> Int[np.ndarray, " allowed"]:
    """Numbers of the cells that may be chosen."""
    if space.admits is None:
        return np.arange(len(cells))
    return np.flatnonzero(np.asarray(jax.jit(jax.vmap(space.admits))(jnp.asarray(cells))))


def _baselines(
    config: CellSearchConfig,
    scores: CellScores,
    worth: Float64[np.ndarray, " cells"],
    cells: Int[np.ndarray, "cells 6"],
    allowed: Int[np.ndarray, " allowed"],
) -> dict[str, float]:
    """What costs nothing: a random cell, and the largest of as many random cells."""
    side = scores.study.x_train.shape[1]
    params = nasbench201.population_costs(cells, **scores.study.job.sizes, image_size=side).params
    rng = np.random.default_rng(config.search_seed)
    largest = [
        worth[drawn[np.argmax(params[drawn])]]
        for drawn in (rng.choice(allowed, config.evaluations) for _ in range(1000))
    ]
    return {
        "random_cell": float(worth[allowed].mean()),
        "largest_of_random_cells": float(np.mean(largest)),
    }


def report(
    summary: Mapping[str, Any],
    curves: Float64[np.ndarray, "searches evaluations"],
    config: CellSearchConfig,
) -> Publication:
    """Makes table and pictures of what was chosen.

    Args:
        summary: of :func:`run_cell_search`.
        curves: accuracy of each search's choice after each evaluation.
        config: the configuration.

    Returns:
        The choices, the searches' progress and the best cell.
    """
    name = f"{config.algorithm}, {' + '.join(config.goals)}"
    best = max(summary["searches"], key=lambda each: each["accuracy"])
    title = f"{best['accuracy']:.2f} % ({config.truth})"
    return Publication(
        tables={TABLE: summary["searches"]},
        figures={
            FIGURE: search_figure({name: curves}, summary["best_in_table"], config.truth),
            BEST: cell_figure(best["arch"], title),
        },
        shown=[chosen_table(summary, config.truth)],
    )
