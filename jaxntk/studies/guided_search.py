"""Searches guided by scores that are computed as they are asked for, several side by side.

Searches go on in step, so that what they ask for is computed together, and an architecture is
scored once for all of them. Scores keep themselves on disk: a run that is killed at any moment
repeats its steps from these and goes on to the same history.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Bool, Float64, Int
from matplotlib.figure import Figure
from rich.console import Console

from jaxntk.results.publish import Publication, publish
from jaxntk.results.rows import archive, number_or_none, write_bytes_atomic
from jaxntk.results.search_plot import Curves, search_figure
from jaxntk.results.search_table import chosen_table
from jaxntk.search import SearchSpace, code_of, limited, random_search
from jaxntk.studies import run_folder
from jaxntk.studies.progress import track
from jaxntk.studies.search_options import AnySearch, SearchOptions, make_search

HISTORY, TABLE = "history.npz", "search.csv"
FIGURE, BEST = "search.png", "best.png"

Costs = Callable[[Int[np.ndarray, "num genes"]], Any]
"""Gives ``params`` and ``flops`` of architectures."""
LookUp = Callable[[Int[np.ndarray, "num genes"]], Float64[np.ndarray, " num"]]


@runtime_checkable
class Scores(Protocol):
    """Scores of architectures, each computed once and kept on disk."""

    def resume(self) -> None:
        """Reads what was scored before."""
        ...

    def __call__(self, archs: Int[np.ndarray, "num genes"]) -> Float64[np.ndarray, "num goals"]:
        """Scores architectures, every goal in its good direction; NaN where a score is invalid."""
        ...

    def seconds(self, arch: Int[np.ndarray, " genes"]) -> float:
        """Says what scoring an architecture took."""
        ...

    def form(self, arch: Int[np.ndarray, " genes"]) -> str:
        """Names what is scored once: architectures of one name share their scores."""
        ...

    @property
    def scored(self) -> int:
        """How many were computed."""
        ...


@dataclass(frozen=True, eq=False)
class Searchable:
    """A space, and what its architectures are judged by.

    Args:
        name: of the experiment.
        space: what can be chosen, limits included.
        scores: by which searches go.
        describe: fields that name an architecture, ``arch`` among them.
        draw: ``(arch, title) -> figure`` of an architecture.
        costs: of architectures.
        digest: SHA-256 of everything the scores depend on.
        of: what choices are judged by: the name of a truth, or ``score``.
        truth: the accuracies that it names; None where nothing is known of them.
        select: accuracies by which finalists are chosen; None for the score itself.
        everything: all encodings that may be chosen, where these can be listed and judged.
    """

    name: str
    space: SearchSpace
    scores: Scores
    describe: Callable[[Int[np.ndarray, " genes"]], dict[str, str]]
    draw: Callable[[Int[np.ndarray, " genes"], str], Figure]
    costs: Costs
    digest: str
    of: str
    truth: LookUp | None
    select: LookUp | None
    everything: Int[np.ndarray, "all genes"] | None


def limited_by_table(
    space: SearchSpace,
    everything: Int[np.ndarray, "all genes"],
    costs: Costs,
    options: SearchOptions,
) -> SearchSpace:
    """Limits a space that can be listed to what a configuration admits.

    Args:
        space: the space, without limits.
        everything: all its encodings.
        costs: of architectures.
        options: have the limits.

    Returns:
        The space; the same one without limits.

    Raises:
        InputError: limits that no architecture keeps.
    """
    if options.max_params is None and options.max_flops is None:
        return space
    codes = np.asarray(code_of(jnp.asarray(everything), space.sizes))
    small = jnp.asarray(keeps_limits(everything, costs, options)[np.argsort(codes)])

    def admits(arch: Int[Array, " genes"]) -> Bool[Array, ""]:
        return small[code_of(arch, space.sizes)]

    return limited(space, admits, jax.random.key(options.search_seed))


def keeps_limits(
    archs: Int[np.ndarray, "num genes"], costs: Costs, options: SearchOptions
) -> Bool[np.ndarray, " num"]:
    """Tells which architectures a configuration admits.

    Args:
        archs: the architectures.
        costs: of them.
        options: have the limits.

    Returns:
        A flag each.
    """
    counts = costs(archs)
    limits = {"params": options.max_params, "flops": options.max_flops}
    inside = np.ones(len(archs), bool)
    for name, most in limits.items():
        if most is not None:
            inside &= np.asarray(getattr(counts, name)) <= most
    return inside


class Searched(NamedTuple):
    """What searches asked for, and what they were told.

    Args:
        archs: the architectures.
        scores: what each search was told; NaN for failures.
        seconds: that scoring them took, 0 for what the same search had asked for before.
        reference_seconds: that scoring the architectures took among which ranks are taken.
    """

    archs: Int[np.ndarray, "searches evaluations genes"]
    scores: Float64[np.ndarray, "searches evaluations"]
    seconds: Float64[np.ndarray, "searches evaluations"]
    reference_seconds: Float64[np.ndarray, ""]


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

    The same folder again goes on with what is missing.

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
    run_folder.open_run(out, record, validate)
    searchable.scores.resume()
    found = search_in_step(config, searchable, console)
    choices = np.stack([
        choices_of(archs, told, searchable, config.finalists)
        for archs, told in zip(found.archs, found.scores, strict=True)
    ])
    curves = _curves(found, choices, searchable)
    levels = _levels(config, searchable)
    best = levels.get("best_there_is")
    final = curves.values[:, -1]
    spread = final.std(ddof=1) if len(final) > 1 else np.nan
    summary: dict[str, Any] = {
        "experiment": searchable.name,
        "searches": _entries(found, choices[:, -1], searchable, best),
        "mean": number_or_none(final.mean()),
        "standard_deviation": number_or_none(spread),
        "of": searchable.of,
        "levels": levels,
        "architectures_scored": searchable.scores.scored,
        "scores_failed": int((~np.isfinite(found.scores)).sum()),
        "scores_told": found.scores.size,
        "seconds_of_this_call": time.perf_counter() - start,
    }
    write_bytes_atomic(out / HISTORY, archive(found._asdict()))
    publish(out, summary, report(config, searchable, summary, curves, choices[:, -1]), console)
    return summary


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
    reference = None if drawn is None else scores(drawn)
    forms = {} if drawn is None else {scores.form(arch): arch for arch in drawn}
    archs, told, seconds = [], [], []
    # What the reference has scored is paid for with it.
    seen: list[set[str]] = [set(forms) for _ in range(config.searches)]
    rounds = -(-config.evaluations // search.batch)
    for _ in track(range(rounds), "rounds", console):
        asked, states = ask(states)
        batch = np.asarray(asked)
        flat = batch.reshape(-1, batch.shape[-1])
        values = told_of(config, scores(flat), reference).reshape(batch.shape[:2])
        states = tell(states, asked, jnp.asarray(values, jnp.float32))
        archs.append(batch)
        told.append(values)
        seconds.append(_fresh_seconds(scores, batch, seen))
    most = config.evaluations
    whole = [np.concatenate(each, axis=1)[:, :most] for each in (archs, told, seconds)]
    paid = sum(scores.seconds(arch) for arch in forms.values())
    return Searched(whole[0], whole[1], whole[2], np.array(paid, np.float64))


def _reference(
    config: SearchOptions, space: SearchSpace, key: Any
) -> Int[np.ndarray, "reference genes"] | None:
    """Draws the random architectures among which the ranks of several goals are taken."""
    if len(config.goals) == 1:
        return None
    drawing = random_search(space, batch=config.reference)
    archs, _ = drawing.ask(drawing.init(jax.random.fold_in(key, 1)))
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


def _fresh_seconds(
    scores: Scores, archs: Int[np.ndarray, "searches batch genes"], seen: list[set[str]]
) -> Float64[np.ndarray, "searches batch"]:
    """What each search would have paid by itself: an architecture costs the first time only."""
    paid = np.zeros(archs.shape[:2])
    for search, batch in enumerate(archs):
        for at, arch in enumerate(batch):
            form = scores.form(arch)
            if form not in seen[search]:
                seen[search].add(form)
                paid[search, at] = scores.seconds(arch)
    return paid


def choices_of(
    archs: Int[np.ndarray, "evaluations genes"],
    told: Float64[np.ndarray, " evaluations"],
    searchable: Searchable,
    finalists: int,
) -> Int[np.ndarray, "evaluations genes"]:
    """Says what a search would choose after each evaluation.

    Args:
        archs: what it asked for.
        told: what it was told.
        searchable: the space.
        finalists: how many of the best ``searchable.select`` chooses among.

    Returns:
        The best by the score, the first of equals; or of the best few the one that is selected.
    """
    scores = np.where(np.isfinite(told), told, -np.inf)
    if searchable.select is None:
        best = np.maximum.accumulate(scores)
        better = np.concatenate([[True], best[1:] > best[:-1]])
        return archs[np.maximum.accumulate(np.where(better, np.arange(len(told)), 0))]
    forms = [searchable.scores.form(arch) for arch in archs]
    found = []
    for num in range(1, len(archs) + 1):
        few: dict[str, Int[np.ndarray, " genes"]] = {}
        for at in np.argsort(-scores[:num], kind="stable"):
            few.setdefault(forms[at], archs[at])
            if len(few) == finalists:
                break
        stacked = np.stack(list(few.values()))
        found.append(stacked[int(np.argmax(searchable.select(stacked)))])
    return np.stack(found)


def _curves(
    found: Searched, choices: Int[np.ndarray, "searches evaluations genes"], searchable: Searchable
) -> Curves:
    """What the choice is worth after each evaluation, and the seconds until then."""
    if searchable.truth is None:
        best = np.fmax.accumulate(found.scores, axis=1)
        values = np.where(np.isfinite(best), best, np.nan)
    else:
        flat = choices.reshape(-1, choices.shape[-1])
        values = searchable.truth(flat).reshape(choices.shape[:2])
    seconds = np.cumsum(found.seconds, axis=1) + found.reference_seconds
    return Curves(values, seconds if seconds.any() else None)


def _entries(
    found: Searched,
    chosen: Int[np.ndarray, "searches genes"],
    searchable: Searchable,
    best: float | None,
) -> list[dict[str, Any]]:
    """What each search chose, what that is worth and what it cost."""
    entries = []
    whole = zip(chosen, found.archs, found.scores, found.seconds, strict=True)
    for arch, archs, told, seconds in whole:
        where = np.flatnonzero((archs == arch).all(axis=1))[0]
        entry: dict[str, Any] = dict(searchable.describe(arch))
        score = float(told[where])
        entry["score"] = score if np.isfinite(score) else None
        if searchable.truth is not None:
            entry["accuracy"] = float(searchable.truth(arch[None])[0])
            entry["regret"] = None if best is None else best - entry["accuracy"]
        entry["failed"] = int((~np.isfinite(told)).sum())
        entry["distinct"] = len({searchable.scores.form(each) for each in archs})
        entry["seconds"] = float(seconds.sum() + found.reference_seconds)
        entries.append(entry)
    return entries


def _levels(config: SearchOptions, searchable: Searchable) -> dict[str, float]:
    """The best there is, and what costs nothing: a random one, the largest of as many random."""
    if searchable.truth is None or searchable.everything is None:
        return {}
    worth = searchable.truth(searchable.everything)
    params = searchable.costs(searchable.everything).params
    rng = np.random.default_rng(config.search_seed)
    largest = [
        worth[drawn[np.argmax(params[drawn])]]
        for drawn in (rng.choice(len(worth), config.evaluations) for _ in range(1000))
    ]
    return {
        "best_there_is": float(worth.max()),
        "largest_of_random": float(np.mean(largest)),
        "random": float(worth.mean()),
    }


def report(
    config: SearchOptions,
    searchable: Searchable,
    summary: Mapping[str, Any],
    curves: Curves,
    chosen: Int[np.ndarray, "searches genes"],
) -> Publication:
    """Makes table and pictures of what was chosen.

    Args:
        config: the configuration.
        searchable: the space.
        summary: of :func:`run_guided_search`.
        curves: of the searches.
        chosen: their last choices.

    Returns:
        The choices, the searches' progress and the best architecture.
    """
    name = f"{config.algorithm}, {' + '.join(config.goals)}"
    final = np.where(np.isfinite(curves.values[:, -1]), curves.values[:, -1], -np.inf)
    best = chosen[int(np.argmax(final))]
    unit = "" if searchable.truth is None else " %"
    title = f"{final.max():.4g}{unit} ({summary['of']})"
    return Publication(
        tables={TABLE: summary["searches"]},
        figures={
            FIGURE: search_figure({name: curves}, summary["levels"], summary["of"] + unit),
            BEST: searchable.draw(best, title),
        },
        shown=[chosen_table(summary)],
    )
