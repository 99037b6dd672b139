"""What a guided search needs of a space: its scores, its limits, and what choices are worth."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float64, Int, PRNGKeyArray
from matplotlib.figure import Figure

from jaxntk.errors import InputError
from jaxntk.search import SearchSpace, code_of, limited
from jaxntk.spaces.space import Admits, Space, listed
from jaxntk.studies.search.options import SearchOptions

LIMITS_KEY = 2**32 - 2
"""Folded into the key of the searches, which fold in their number: no search has this one."""

PROCESSES = "process-*-of-*"
"""Folders of the processes that share a search."""

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
        """How many were scored."""
        ...

    @property
    def adopted(self) -> int:
        """How many of these another run had scored."""
        ...


@dataclass(frozen=True, eq=False)
class Searchable:
    """A space, and what its architectures are judged by.

    Args:
        name: of the experiment.
        space: what can be chosen, limits included.
        scores: by which searches go.
        describe: fields that name an architecture, ``arch`` among them.
        draw: ``(arch, title) -> figure`` of an architecture; None where there is no picture.
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
    draw: Callable[[Int[np.ndarray, " genes"], str], Figure] | None
    costs: Costs
    digest: str
    of: str
    truth: LookUp | None
    select: LookUp | None
    everything: Int[np.ndarray, "all genes"] | None


def own_folder(out: Path) -> Path:
    """Says where this process keeps its rows.

    Args:
        out: folder of the run.

    Returns:
        The folder itself where there is one process; else one below it.
    """
    if jax.process_count() == 1:
        return out
    return out / f"process-{jax.process_index() + 1:02d}-of-{jax.process_count():02d}"


def limited_to(space: Space, costs: Costs, options: SearchOptions) -> SearchSpace:
    """Limits a space to what a configuration admits.

    Args:
        space: the space.
        costs: of its architectures.
        options: have the limits.

    Returns:
        What can be chosen; everything where there are no limits.

    Raises:
        InputError: limits that no architecture keeps, and what they would have to be, or limits
            of a space that is too large to be listed and cannot be limited otherwise.
    """
    free = SearchSpace(space.sizes, active=space.active)
    limits = {"params": options.max_params, "flops": options.max_flops}
    limits = {name: most for name, most in limits.items() if most is not None}
    if not limits:
        return free
    every = listed(space)
    if every is not None:
        return limited(free, _listed_within(space, every, costs, options), limits_key(options))
    if space.limit is None:
        name, most = next(iter(limits.items()))
        raise InputError(f"max_{name}", most, f"leave it out: {space.name} cannot be limited")
    return limited(free, space.limit(costs, limits), limits_key(options))


def _listed_within(
    space: Space, every: Int[np.ndarray, "all genes"], costs: Costs, options: SearchOptions
) -> Admits:
    """Looks every architecture's costs up; refuses limits that none keeps."""
    kept = keeps_limits(every, costs, options)
    if not kept.any():
        counts = costs(every)
        for name in ("params", "flops"):
            most, least = getattr(options, f"max_{name}"), int(getattr(counts, name).min())
            if most is not None and most < least:
                raise InputError(
                    f"max_{name}", most, f"give at least {least:,}, the fewest there are"
                )
        got = f"{options.max_params} with max_flops={options.max_flops}"
        raise InputError("max_params", got, "widen the limits: nothing keeps both")
    # The order of the list is that of the codes.
    small = jnp.asarray(kept)
    return lambda arch: small[code_of(arch, space.sizes)]


def limits_key(options: SearchOptions) -> PRNGKeyArray:
    """Gives the key with which a first architecture within the limits is looked for.

    Args:
        options: have the seed.

    Returns:
        The key.
    """
    return jax.random.fold_in(jax.random.key(options.search_seed), LIMITS_KEY)


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
        fresh: whether the same search had not asked for it, or for its like, before.
        seconds: that scoring them took, 0 for what is not fresh.
        reference_seconds: that scoring the architectures took among which ranks are taken.
        reference_fresh: how many of these there are that do not share their scores.
    """

    archs: Int[np.ndarray, "searches evaluations genes"]
    scores: Float64[np.ndarray, "searches evaluations"]
    fresh: Bool[np.ndarray, "searches evaluations"]
    seconds: Float64[np.ndarray, "searches evaluations"]
    reference_seconds: Float64[np.ndarray, ""]
    reference_fresh: Int[np.ndarray, ""]
