"""What a benchmark table holds of its trainings: counts, losses and times, packed into 16 bits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Integer

from jaxntk.errors import InputError, check_choice

LOSS_UNIT, SECONDS_UNIT = 1e-4, 1e-2
"""Nats and seconds that losses and times are stored in multiples of, as 16-bit integers."""
NO_LOSS = np.iinfo(np.uint16).max
"""Stored for a loss that was not finite."""


@dataclass(frozen=True, eq=False)
class Trainings:
    """Accuracies and losses of trainings, after each epoch.

    Args:
        subject: number of what each training trained.
        seed: seed of each training.
        finite: whether its weights stayed finite.
        right: for each split, how many images were classified right: of ``train`` during the epoch,
            as they came, of the others after it.
        images: for each split, images that these counts are out of.
        loss: mean training loss of each epoch; NaN where it was not finite.
        seconds: that a training took, with its tests, on one CPU core.
    """

    subject: Integer[np.ndarray, " trainings"]
    seed: Integer[np.ndarray, " trainings"]
    finite: Bool[np.ndarray, " trainings"]
    right: Mapping[str, Integer[np.ndarray, "trainings epochs"]]
    images: Mapping[str, int]
    loss: Float64[np.ndarray, "trainings epochs"]
    seconds: Float64[np.ndarray, " trainings"]

    @property
    def epochs(self) -> int:
        """Epochs of each training."""
        return self.loss.shape[1]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that occur."""
        return tuple(int(seed) for seed in np.unique(self.seed))

    @property
    def seconds_a_subject(self) -> float:
        """What an accuracy took in the mean, which is over all trainings of a subject."""
        return float(self.seconds.sum() / np.unique(self.subject).size)

    def has_seed(
        self, subjects: Integer[np.ndarray, " num"], seed: int
    ) -> Bool[np.ndarray, " num"]:
        """Tells which subjects were trained from a seed.

        Args:
            subjects: their numbers.
            seed: of a training.

        Returns:
            A flag for each.
        """
        return self._from_seed(subjects, seed) >= 0

    def accuracy(
        self,
        subjects: Integer[np.ndarray, " num"],
        split: str,
        *,
        epoch: int | None = None,
        seed: int | None = None,
    ) -> Float64[np.ndarray, " num"]:
        """Looks up accuracies.

        Args:
            subjects: numbers of what was trained.
            split: ``train`` (as the images came in that epoch), or a split that was tested.
            epoch: epochs done, 1 to ``epochs``; None for all of them.
            seed: of the training; None for the mean over all trainings of a subject.

        Returns:
            Percent, one number each.

        Raises:
            InputError: an unknown split or epoch, or a subject not trained from that seed.
        """
        check_choice("split", split, tuple(self.images))
        counts = self.right[split].astype(np.float64)
        return self._look_up(100 * counts / self.images[split], subjects, epoch, seed)

    def loss_of(
        self,
        subjects: Integer[np.ndarray, " num"],
        *,
        epoch: int | None = None,
        seed: int | None = None,
    ) -> Float64[np.ndarray, " num"]:
        """Looks up mean training losses of an epoch; NaN where one was not finite.

        Args:
            subjects: numbers of what was trained.
            epoch: 1 to ``epochs``; None for the last.
            seed: of the training; None for the mean over all trainings of a subject.

        Returns:
            Cross entropies in nats, one each.

        Raises:
            InputError: an unknown epoch, or a subject not trained from that seed.
        """
        return self._look_up(self.loss, subjects, epoch, seed)

    def _look_up(
        self, values: np.ndarray, subjects: np.ndarray, epoch: int | None, seed: int | None
    ) -> Float64[np.ndarray, " num"]:
        epoch = self.epochs if epoch is None else epoch
        if not 1 <= epoch <= self.epochs:
            raise InputError("epoch", epoch, f"give 1 to {self.epochs}")
        column = values[:, epoch - 1]
        if seed is None:
            sums = np.bincount(self.subject, column)
            return (sums / np.bincount(self.subject))[subjects]
        found = self._from_seed(subjects, seed)
        if (found < 0).any():
            got = f"{seed}, which {int((found < 0).sum())} of {len(found)} lack"
            raise InputError("seed", got, f"give {self.seeds[0]}, or None for the mean")
        return column[found]

    def _from_seed(self, subjects: np.ndarray, seed: int) -> Int[np.ndarray, " num"]:
        """Returns the training of each subject from a seed, or -1."""
        at = np.full(int(self.subject.max()) + 1, -1)
        mine = np.flatnonzero(self.seed == seed)
        at[self.subject[mine]] = mine
        return at[subjects]


def pack(
    rows: Sequence[Mapping[str, Any]],
    subject: Integer[np.ndarray, " trainings"],
    subjects: int,
    images: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """Packs trainings into arrays, ordered by subject and seed.

    Losses beyond 6.5534 nats, worse than any guess among 700 classes, are stored as that.

    Args:
        rows: of a run, with ``seed``, ``finite``, ``seconds`` and, a number an epoch, ``loss``,
            ``train`` (fraction right) and, for other splits, how many images were right.
        subject: number of what each training trained.
        subjects: how many there are.
        images: for each split, images that counts are out of.

    Returns:
        Arrays by name, for an .npz file.

    Raises:
        InputError: a subject without a training, or a number that 16 bits cannot hold.
    """
    missing = subjects - len(np.unique(subject))
    if missing:
        raise InputError("rows", f"{missing} of them without a training", "train all of them")
    order = np.lexsort(([row["seed"] for row in rows], subject))
    losses = np.array([
        [np.nan if loss is None else loss / LOSS_UNIT for loss in row["loss"]] for row in rows
    ])
    right = {name: [row[name] for row in rows] for name in images if name != "train"}
    right["train"] = [[images["train"] * part for part in row["train"]] for row in rows]
    columns = {
        "subject": subject,
        "seconds": [row["seconds"] / SECONDS_UNIT for row in rows],
        "loss": np.where(np.isnan(losses), NO_LOSS, np.minimum(losses, NO_LOSS - 1)),
        **right,
    }
    for name, column in columns.items():
        if np.min(column) < 0 or np.max(column) > NO_LOSS:
            got = f"{name} from {np.min(column):g} to {np.max(column):g}"
            raise InputError("rows", got, f"0 to {NO_LOSS} units can be stored")
    return {
        "seed": np.array([row["seed"] for row in rows], np.int32)[order],
        "finite": np.array([row["finite"] for row in rows])[order],
        **{name: np.rint(column)[order].astype(np.uint16) for name, column in columns.items()},
    }


def unpack(arrays: Mapping[str, np.ndarray], images: Mapping[str, int]) -> Trainings:
    """Reads what :func:`pack` made.

    Args:
        arrays: by name.
        images: for each split, images that counts are out of.

    Returns:
        The trainings.
    """
    stored = arrays["loss"]
    return Trainings(
        subject=arrays["subject"],
        seed=arrays["seed"],
        finite=arrays["finite"],
        right={name: arrays[name] for name in images},
        images=images,
        loss=np.where(stored == NO_LOSS, np.nan, LOSS_UNIT * stored),
        seconds=SECONDS_UNIT * arrays["seconds"],
    )
