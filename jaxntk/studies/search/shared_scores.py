"""Scores that several processes compute together: each its share, all of them know all.

All processes run the same search and ask for the same architectures at the same time, so that no
process has to tell another what to do. Each keeps the rows of its share in a folder of its own.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float64, Int

from jaxntk.errors import InputError
from jaxntk.studies.search.searchable import Scores

Result = TypeVar("Result")


def agreed(action: Callable[[], Result]) -> Result:
    """Does something in every process; where it fails in one, all of them end.

    Nobody waits for a process that has gone.

    Args:
        action: what is done; without arguments.

    Returns:
        What it returns in this process.

    Raises:
        InputError: it failed in another process.
        Exception: whatever it raises in this one.
    """
    if jax.process_count() == 1:
        return action()
    result, failure = None, None
    try:
        result = action()
    except Exception as error:
        failure = error
    if _gathered_numbers(int(failure is not None)).any():
        cure = "see what it says; the same commands again go on"
        raise failure or InputError("processes", "one that failed", cure)
    return cast(Result, result)


def shared(scores: Scores) -> Scores:
    """Lets all processes share the computation of scores, where there are several.

    Args:
        scores: of this process; rows lie in :func:`~jaxntk.studies.search.searchable.own_folder`.

    Returns:
        The scores; themselves where there is one process.
    """
    return scores if jax.process_count() == 1 else SharedScores(scores)


class SharedScores:
    """Scores whose computation all processes share."""

    def __init__(self, scores: Scores) -> None:
        """Computes nothing.

        Args:
            scores: of this process; rows lie in
                :func:`~jaxntk.studies.search.searchable.own_folder`.
        """
        self._scores = scores
        self._known: dict[str, Float64[np.ndarray, " goals"]] = {}
        self._seconds: dict[str, float] = {}
        self._counts = np.zeros(2, int)

    def resume(self) -> None:
        """Reads what this process scored before in its folder.

        Raises:
            InputError: damaged rows, here or in another process.
        """
        agreed(self._scores.resume)
        self._count()

    @property
    def scored(self) -> int:
        """Architectures that were scored, by whichever process."""
        return int(self._counts[0])

    @property
    def adopted(self) -> int:
        """Architectures that were taken from the cache, by whichever process."""
        return int(self._counts[1])

    def form(self, arch: Int[np.ndarray, " genes"]) -> str:
        """Names what is scored once.

        Args:
            arch: an encoding.

        Returns:
            The same for architectures that share their scores.
        """
        return self._scores.form(arch)

    def seconds(self, arch: Int[np.ndarray, " genes"]) -> float:
        """Says what scoring an architecture took in the process that did it.

        Args:
            arch: one that was scored.

        Returns:
            Seconds.
        """
        return self._seconds.get(self.form(arch), 0.0)

    def __call__(self, archs: Int[np.ndarray, "num genes"]) -> Float64[np.ndarray, "num goals"]:
        """Scores architectures together; every process has to ask for the same ones.

        Args:
            archs: the architectures.

        Returns:
            A row an architecture, the same in every process.

        Raises:
            InputError: as the scores of this process do, or because another process failed.
        """
        forms = [self.form(arch) for arch in archs]
        new = {
            form: arch for form, arch in zip(forms, archs, strict=True) if form not in self._known
        }
        if new:
            self._share(new)
        return np.stack([self._known[form] for form in forms])

    def _share(self, new: dict[str, Int[np.ndarray, " genes"]]) -> None:
        rank, size = jax.process_index(), jax.process_count()
        archs = list(new.values())
        goals = agreed(lambda: self._own(archs[rank::size]))
        self._count()
        for at, row in enumerate(_gathered(goals, len(archs), rank, size)):
            form = list(new)[at]
            self._known[form], self._seconds[form] = row[:-1], float(row[-1])

    def _count(self) -> None:
        mine = (self._scores.scored, self._scores.adopted)
        self._counts = np.array([_gathered_numbers(number).sum() for number in mine])

    def _own(
        self, mine: list[Int[np.ndarray, " genes"]]
    ) -> Float64[np.ndarray, "mine columns"] | None:
        """Goals and seconds of this process's share; None for an empty one."""
        if not mine:
            return None
        values = self._scores(np.stack(mine))
        seconds = np.array([self._scores.seconds(arch) for arch in mine])
        return np.concatenate([values, seconds[:, None]], axis=1)


def _gathered(
    own: Float64[np.ndarray, "mine columns"] | None, num: int, rank: int, size: int
) -> Float64[np.ndarray, "num columns"]:
    """Puts the shares of all processes together, in the order of the architectures."""
    shares = -(-num // size)
    # A process without a share does not know the goals.
    width = int(_gathered_numbers(0 if own is None else own.shape[1]).max())
    # As bytes: without x64 JAX would round numbers to float32.
    padded = np.zeros((shares, width))
    if own is not None:
        padded[: len(own)] = own
    everything = np.asarray(multihost_utils.process_allgather(padded.view(np.uint32)))
    rows = np.ascontiguousarray(everything).reshape(size, shares, 2 * width).view(np.float64)
    return np.stack([rows[at % size, at // size] for at in range(num)])


def _gathered_numbers(number: int) -> Int[np.ndarray, " processes"]:
    """The numbers of all processes."""
    found = multihost_utils.process_allgather(np.array([number], np.int32))
    return np.asarray(found).reshape(-1)
