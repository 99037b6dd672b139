"""What the choices of guided searches are worth, and what is shown of it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from jaxntk.results.front_plot import front_figure
from jaxntk.results.search_plot import Curves, search_figure
from jaxntk.results.search_table import chosen_table
from jaxntk.runs.publish import Publication
from jaxntk.runs.rows import number_or_none
from jaxntk.studies.search.front import front_of, seen_entries
from jaxntk.studies.search.options import SearchOptions
from jaxntk.studies.search.searchable import Searchable, Searched

TABLE, FRONT_TABLE = "search.csv", "front.csv"
FIGURE, BEST, FRONT = "search.png", "best.png", "front.png"


class Reported(NamedTuple):
    """A summary, as it goes to JSON, and what is made of it.

    Args:
        summary: a JSON object.
        publication: the choices, the searches' progress, the best architecture and the front of
            score against FLOPs.
        worth: what the choice of each search is worth after each evaluation; NaN for nothing.
    """

    summary: dict[str, Any]
    publication: Publication
    worth: Float64[np.ndarray, "searches evaluations"]


def search_report(
    config: SearchOptions,
    searchable: Searchable,
    found: Searched,
    choices: Int[np.ndarray, "searches evaluations genes"],
    seconds: float,
) -> Reported:
    """Judges the choices of all searches.

    A search whose scores all failed has chosen nothing: it is named, and is not in the mean.

    Args:
        config: the configuration.
        searchable: the space.
        found: what was asked for and told.
        choices: of each search after each evaluation.
        seconds: of this call.

    Returns:
        The summary, and what is shown of it.
    """
    curves = _curves(found, choices, searchable)
    levels = _levels(config, searchable)
    final = curves.values[:, -1]
    valid = final[np.isfinite(final)]
    entries = [
        _entry(config, search, choices[search, -1], found, searchable, levels.get("best_there_is"))
        for search in range(len(choices))
    ]
    summary = {
        "experiment": searchable.name,
        "algorithm": config.algorithm,
        "goals": list(config.goals),
        "searches": entries,
        "searches_without_score": len(final) - len(valid),
        "mean": float(valid.mean()) if len(valid) else None,
        "standard_deviation": number_or_none(valid.std(ddof=1)) if len(valid) > 1 else None,
        "of": searchable.of,
        "levels": levels,
        "architectures_scored": searchable.scores.scored,
        "architectures_from_cache": searchable.scores.adopted,
        "scores_failed": int((~np.isfinite(found.scores)).sum()),
        "scores_told": found.scores.size,
        "seconds_of_this_call": seconds,
    }
    if config.select is not None:
        summary["selection"] = {"truth": config.select, "finalists": config.finalists}
    goals = " + ".join(config.goals)
    name = f"{config.algorithm}, {goals}{_selection(config)}"
    seen = seen_entries(config.goals, searchable, found)
    summary["front"] = front_of(seen)
    axis = "score, higher is better" if searchable.truth is None else f"{searchable.of}, %"
    best = _best(entries, choices[:, -1], searchable)
    figures = {
        FIGURE: search_figure({name: curves}, levels, axis),
        FRONT: front_figure(seen, goals, searchable.of),
    }
    if searchable.draw is not None:
        title = _title(config, entries[best], searchable)
        figures[BEST] = searchable.draw(choices[best, -1], title)
    tables = {TABLE: entries, FRONT_TABLE: summary["front"]}
    shown = [chosen_table(summary)]
    return Reported(summary, Publication(tables, figures, shown), curves.values)


def _best(
    entries: Sequence[Mapping[str, Any]],
    choices: Int[np.ndarray, "searches genes"],
    searchable: Searchable,
) -> int:
    """Numbers the search of the best choice, by what choices are made by and not judged by."""
    told = np.array([-np.inf if entry["score"] is None else entry["score"] for entry in entries])
    if searchable.select is not None:
        told = np.where(np.isfinite(told), searchable.select(choices), -np.inf)
    return int(np.argmax(told))


def _selection(config: SearchOptions) -> str:
    return "" if config.select is None else f", best of {config.finalists} by {config.select}"


def _has_score(found: Searched) -> Bool[np.ndarray, "searches evaluations"]:
    """Says whether a search had been told any valid score by then."""
    return np.maximum.accumulate(np.isfinite(found.scores), axis=1)


def _curves(
    found: Searched, choices: Int[np.ndarray, "searches evaluations genes"], searchable: Searchable
) -> Curves:
    """What the choice is worth after each evaluation, and the seconds until then."""
    if searchable.truth is None:
        best = np.where(np.isfinite(found.scores), found.scores, -np.inf)
        values = np.maximum.accumulate(best, axis=1)
    else:
        flat = choices.reshape(-1, choices.shape[-1])
        values = searchable.truth(flat).reshape(choices.shape[:2])
    seconds = np.cumsum(found.seconds, axis=1) + found.reference_seconds
    return Curves(np.where(_has_score(found), values, np.nan), seconds if seconds.any() else None)


def _entry(
    config: SearchOptions,
    search: int,
    arch: Int[np.ndarray, " genes"],
    found: Searched,
    searchable: Searchable,
    best: float | None,
) -> dict[str, Any]:
    """What a search chose, what that is worth and what it cost."""
    archs, told = found.archs[search], found.scores[search]
    chosen = bool(np.isfinite(told).any())
    same = (archs == arch).all(axis=1)
    entry: dict[str, Any] = dict(searchable.describe(arch))
    entry["score"] = number_or_none(told[np.flatnonzero(same)[0]]) if chosen else None
    if len(config.goals) > 1:
        values = searchable.scores(arch[None])[0]
        entry |= {
            goal: number_or_none(value) for goal, value in zip(config.goals, values, strict=True)
        }
    if searchable.truth is not None:
        accuracy = float(searchable.truth(arch[None])[0]) if chosen else None
        entry["accuracy"] = accuracy
        entry["regret"] = None if accuracy is None or best is None else best - accuracy
    entry["failed"] = int((~np.isfinite(told)).sum())
    entry["distinct"] = len({searchable.scores.form(each) for each in archs})
    entry["seconds"] = float(found.seconds[search].sum() + found.reference_seconds)
    return entry


def _levels(config: SearchOptions, searchable: Searchable) -> dict[str, float]:
    """The best there is, and what costs nothing: a random one, the largest of as many random."""
    if searchable.truth is None or searchable.everything is None:
        return {}
    worth = searchable.truth(searchable.everything)
    params = searchable.costs(searchable.everything).params
    return levels_of(worth, params, config.evaluations, config.search_seed)


def levels_of(
    worth: Float64[np.ndarray, " space"],
    params: Int[np.ndarray, " space"],
    evaluations: int,
    seed: int,
) -> dict[str, float]:
    """Says what there is in a space, and what choosing from it costs nothing.

    Args:
        worth: accuracy of every architecture.
        params: parameters of every architecture.
        evaluations: of a search; the largest of as many random architectures is a choice too.
        seed: of a thousand draws of as many.

    Returns:
        ``best_there_is``, ``largest_of_random`` and ``random``, the last two in the mean.
    """
    rng = np.random.default_rng(seed)
    largest = [
        worth[drawn[np.argmax(params[drawn])]]
        for drawn in (rng.choice(len(worth), evaluations) for _ in range(1000))
    ]
    return {
        "best_there_is": float(worth.max()),
        "largest_of_random": float(np.mean(largest)),
        "random": float(worth.mean()),
    }


def _title(config: SearchOptions, entry: dict[str, Any], searchable: Searchable) -> str:
    if entry["score"] is None:
        return "no search found a valid score: the first of all"
    if searchable.truth is None:
        return f"best score (higher is better), {entry['score']:.4g}"
    by = "score" if config.select is None else config.select
    return f"that of the best {by}; {searchable.of} {entry['accuracy']:.2f} %"
