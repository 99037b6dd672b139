"""Searches guided by scores that are computed as they are asked for, several side by side.

Searches go on in step, so that what they ask for is computed together, and an architecture is
scored once for all of them. Scores keep themselves on disk: a run that is killed at any moment
repeats its steps from these and goes on to the same history.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Bool, Float64, Int, PRNGKeyArray
from rich.console import Console

from jaxntk.runs import run_folder
from jaxntk.runs.progress import say_complete, track
from jaxntk.runs.publish import publish
from jaxntk.runs.rows import archive, write_bytes_atomic
from jaxntk.search import SearchSpace, random_search
from jaxntk.studies.search.options import AnySearch, SearchOptions, make_search
from jaxntk.studies.search.report import search_report
from jaxntk.studies.search.searchable import Scores, Searchable, Searched, own_folder
from jaxntk.studies.search.shared_scores import agreed

HISTORY = "history.npz"
REFERENCE_KEY = 2**32 - 1
"""Folded into the key of the searches, which fold in their number: no search has this one."""


def run_guided_search(
    config: AnySearch,
    searchable: Searchable,
    validate: Callable[[AnySearch], None],
    out: Path,
    *,
    command: str,
    console: Console,
) -> dict[str, Any]:
    """Runs the searches of a configuration and says what their choices are worth.

    The same folder again goes on with what is missing. Of several processes the first writes what
    comes of it.

    Args:
        config: the configuration.
        searchable: the space.
        validate: refuses a configuration.
        out: folder of the run.
        command: the line that starts it again.
        console: where progress and results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: the folder cannot be used.
    """
    start = time.perf_counter()
    record = run_folder.Record(
        experiment=searchable.name,
        command=command,
        config=config,
        data_sha256=searchable.digest,
    )
    first = jax.process_index() == 0
    console = console if first else Console(quiet=True)
    finished = (out / HISTORY).exists()
    agreed(lambda: _open(out, record, validate, finished=finished))
    searchable.scores.resume()
    scored = searchable.scores.scored
    found = search_in_step(config, searchable, console)
    if finished and searchable.scores.scored == scored:
        say_complete(out, console)
    chosen = [
        choices_of(archs, told, searchable, config.finalists)
        for archs, told in zip(found.archs, found.scores, strict=True)
    ]
    choices = np.stack([each.archs for each in chosen])
    seconds = time.perf_counter() - start
    made = search_report(config, searchable, found, choices, seconds)
    if first:
        more = {"worth": made.worth, "finalists": np.stack([each.finalists for each in chosen])}
        write_bytes_atomic(out / HISTORY, archive(found._asdict() | more))
        publish(out, made.summary, made.publication, console)
    return made.summary


def _open(
    out: Path, record: run_folder.Record, validate: Callable[[Any], None], *, finished: bool
) -> None:
    """Begins a run or goes on with it; every process looks at the rows that are its own."""
    own = own_folder(out)
    if finished:
        # A search by counts or tables has no rows by which the folder would be known.
        run_folder.refuse_other(out, record, validate)
    run_folder.open_run(own, record, validate)
    if own != out and jax.process_index() == 0:
        run_folder.open_run(out, record, validate)


def search_in_step(config: SearchOptions, searchable: Searchable, console: Console) -> Searched:
    """Runs all searches of a configuration, round by round.

    Args:
        config: the configuration.
        searchable: the space.
        console: where progress is shown.

    Returns:
        What was asked for and told.

    Raises:
        InputError: whatever scoring may raise.
    """
    scores, search = searchable.scores, make_search(config, searchable.space)
    ask, tell = jax.jit(jax.vmap(search.ask)), jax.jit(jax.vmap(search.tell))
    key = jax.random.key(config.search_seed)
    states = jax.vmap(search.init)(jax.random.split(key, config.searches))
    drawn = _reference(config, searchable.space, key)
    if drawn is not None:
        line = f"scoring {len(drawn)} random architectures, among which ranks are taken ..."
        console.print(line, highlight=False)
    reference = None if drawn is None else scores(drawn)
    forms = {} if drawn is None else {scores.form(arch): arch for arch in drawn}
    archs, told, fresh, seconds = [], [], [], []
    # What the reference has scored is paid for with it.
    seen: list[set[str]] = [set(forms) for _ in range(config.searches)]
    rounds = -(-config.evaluations // search.batch)
    for round_ in track(range(rounds), "rounds", console):
        asked, states = ask(states)
        # Of a last batch only as much is scored as was asked for.
        left = config.evaluations - round_ * search.batch
        batch = np.asarray(asked)[:, :left]
        flat = batch.reshape(-1, batch.shape[-1])
        values = told_of(config, scores(flat), reference).reshape(batch.shape[:2])
        if left > search.batch:
            states = tell(states, asked, jnp.asarray(values, jnp.float32))
        archs.append(batch)
        told.append(values)
        fresh.append(_fresh(scores, batch, seen))
        costs = [scores.seconds(arch) for arch in flat]
        seconds.append(np.where(fresh[-1], np.reshape(costs, fresh[-1].shape), 0.0))
    whole = [np.concatenate(each, axis=1) for each in (archs, told, fresh, seconds)]
    paid = sum(scores.seconds(arch) for arch in forms.values())
    costs = np.array(paid, np.float64), np.array(len(forms), np.int32)
    return Searched(whole[0], whole[1], whole[2], whole[3], *costs)


def _reference(
    config: SearchOptions, space: SearchSpace, key: PRNGKeyArray
) -> Int[np.ndarray, "reference genes"] | None:
    """Draws the random architectures among which the ranks of several goals are taken."""
    if len(config.goals) == 1:
        return None
    drawing = random_search(space, batch=config.reference)
    archs, _ = drawing.ask(drawing.init(jax.random.fold_in(key, REFERENCE_KEY)))
    return np.asarray(archs)


def told_of(
    config: SearchOptions,
    values: Float64[np.ndarray, "num goals"],
    reference: Float64[np.ndarray, "reference goals"] | None,
) -> Float64[np.ndarray, " num"]:
    """Makes one score of all goals: the score itself, or the weighted mean of ranks.

    Args:
        config: has the weights.
        values: the goals of the architectures, NaN for failures.
        reference: those of the random architectures; None with one goal.

    Returns:
        What a search is told; NaN where any goal failed.
    """
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


def _fresh(
    scores: Scores, archs: Int[np.ndarray, "searches batch genes"], seen: list[set[str]]
) -> Bool[np.ndarray, "searches batch"]:
    """What each search would have paid for by itself: an architecture costs the first time only."""
    fresh = np.zeros(archs.shape[:2], bool)
    for search, batch in enumerate(archs):
        for at, arch in enumerate(batch):
            form = scores.form(arch)
            fresh[search, at] = form not in seen[search]
            seen[search].add(form)
    return fresh


class Choices(NamedTuple):
    """What a search would choose after each evaluation.

    Args:
        archs: the architectures.
        finalists: how many of the best were looked at more closely for that; 0 without a selection.
    """

    archs: Int[np.ndarray, "evaluations genes"]
    finalists: Int[np.ndarray, " evaluations"]


def choices_of(
    archs: Int[np.ndarray, "evaluations genes"],
    told: Float64[np.ndarray, " evaluations"],
    searchable: Searchable,
    finalists: int,
) -> Choices:
    """Says what a search would choose after each evaluation.

    Args:
        archs: what it asked for.
        told: what it was told.
        searchable: the space.
        finalists: how many of the best ``searchable.select`` chooses among.

    Returns:
        The best by the score, the first of equals, or of the best few the one that is selected; the
        first of all as long as none has a valid score.
    """
    scores = np.where(np.isfinite(told), told, -np.inf)
    if searchable.select is None:
        best = np.maximum.accumulate(scores)
        better = np.concatenate([[True], best[1:] > best[:-1]])
        chosen = archs[np.maximum.accumulate(np.where(better, np.arange(len(told)), 0))]
        return Choices(chosen, np.zeros(len(told), np.int32))
    forms = [searchable.scores.form(arch) for arch in archs]
    found, looked = [], []
    for num in range(1, len(archs) + 1):
        few: dict[str, Int[np.ndarray, " genes"]] = {}
        for at in np.argsort(-scores[:num], kind="stable"):
            # What failed is no finalist, unless there is nothing else.
            if len(few) == finalists or (few and not np.isfinite(told[at])):
                break
            few.setdefault(forms[at], archs[at])
        stacked = np.stack(list(few.values()))
        found.append(stacked[int(np.argmax(searchable.select(stacked)))])
        looked.append(len(few))
    return Choices(np.stack(found), np.array(looked, np.int32))
