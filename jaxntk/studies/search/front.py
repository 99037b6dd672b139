"""The Pareto front of score against FLOPs among what searches have seen."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxntk.search import pareto_front
from jaxntk.studies.search.searchable import Searchable, Searched


def seen_entries(
    goals: Sequence[str], searchable: Searchable, found: Searched
) -> list[dict[str, Any]]:
    """Lists everything that any search has scored, and whether it is on the front.

    The Pareto front holds what no other one dominates: none has at least its score at fewer FLOPs,
    or more at as many.

    Args:
        goals: by which searches went; where there are several, entries have each of them.
        searchable: the space.
        found: what was asked for and told.

    Returns:
        An entry for each architecture with a valid score, by rising FLOPs; of architectures that
        share a score the one of fewest FLOPs.
    """
    genes = found.archs.shape[-1]
    flat, told = found.archs.reshape(-1, genes), found.scores.reshape(-1)
    valid = np.isfinite(told)
    if not valid.any():
        return []
    archs, scores = flat[valid], told[valid]
    costs = searchable.costs(archs)
    params, flops = np.asarray(costs.params), np.asarray(costs.flops)
    cheapest: dict[str, int] = {}
    for at in np.lexsort((params, flops)):
        cheapest.setdefault(searchable.scores.form(archs[at]), int(at))
    kept = list(cheapest.values())
    archs, scores, params, flops = archs[kept], scores[kept], params[kept], flops[kept]
    # Places, not numbers: scores may be closer together than float32 tells apart.
    ranks = np.stack([_places(scores), _places(-flops)], axis=1)
    front = np.asarray(pareto_front(jnp.asarray(ranks, jnp.float32)))
    worth = None if searchable.truth is None else searchable.truth(archs)
    single = searchable.scores(archs) if len(goals) > 1 else None
    entries = []
    for at in np.lexsort((-scores, flops)):
        entry: dict[str, Any] = dict(searchable.describe(archs[at]))
        entry |= {"score": float(scores[at]), "flops": int(flops[at]), "params": int(params[at])}
        if single is not None:
            entry |= dict(zip(goals, map(float, single[at]), strict=True))
        if worth is not None:
            entry["accuracy"] = float(worth[at])
        entries.append(entry | {"front": bool(front[at])})
    return entries


def _places(values: np.ndarray) -> np.ndarray:
    """Numbers values from the smallest; equal ones have equal numbers."""
    return np.unique(values, return_inverse=True)[1]


def front_of(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Takes the front out of what was seen.

    Args:
        entries: of :func:`seen_entries`.

    Returns:
        Those on the front, without the mark.
    """
    return [{k: v for k, v in entry.items() if k != "front"} for entry in entries if entry["front"]]
