"""The configuration of a search for NAS-Bench-201 cells that is guided by any scores."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from jaxntk.data.truths import check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.metrics import METRICS
from jaxntk.runs.config import Hidden
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.studies.over_epochs_config import OverEpochsConfig, validate_training
from jaxntk.studies.search.options import COUNTS, TABLE, SearchOptions, check_search

_CHOSEN = "leave it out: a search chooses its cells"
OF_GOALS = {
    "archs": _CHOSEN,
    "num_archs": _CHOSEN,
    "arch_seed": _CHOSEN,
    "epochs": "leave it out: goals say after how many epochs, as in lga_centred@3",
    "metrics": "leave it out: --goals says by what a search goes",
}
"""Fields of studies of given cells, which a search does not have."""
OF_TRAINING = ("loss", "loss_sum", "train_accuracy", "valid_accuracy")


class Goal(NamedTuple):
    """One score that a search goes by.

    Args:
        name: a metric, what training gives, a count, or a truth in a table.
        epochs: of training before it is read; None for counts and tables.
    """

    name: str
    epochs: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Goal":
        """Reads ``metric@epochs``, ``params``, ``flops`` or ``table:TRUTH``.

        Args:
            text: such as ``lga_centred@3`` or ``table:digits201/valid``.

        Returns:
            The goal.

        Raises:
            InputError: none of these.

        Example:
            >>> Goal.parse("lga@3")
            Goal(name='lga', epochs=3)
        """
        if text.startswith(TABLE):
            check_truth("goals", text.removeprefix(TABLE), SPACES[NASBENCH201])
            return cls(text)
        if text in COUNTS:
            return cls(text)
        name, at, epochs = text.partition("@")
        check_choice("goals", name, (*METRICS, *OF_TRAINING, *COUNTS))
        if name in COUNTS:
            raise InputError("goals", text, f"write {name}: it does not change with training")
        if not at or not epochs.isdecimal():
            cure = "say after how many epochs, as in lga_centred@3"
            raise InputError("goals", text, cure)
        if name in OF_TRAINING and name != "valid_accuracy" and epochs == "0":
            raise InputError("goals", text, "give at least one epoch: there is none before")
        return cls(name, int(epochs))


@dataclass(frozen=True, kw_only=True)
class CellSearchConfig(SearchOptions, OverEpochsConfig):
    """Search NAS-Bench-201's cells by kernels after a little training, or by other scores."""

    goals: tuple[str, ...] = ("lga_centred@0",)
    """Scores that a search goes by: METRIC@EPOCHS, valid_accuracy@EPOCHS, train_accuracy@EPOCHS,
    loss@EPOCHS, loss_sum@EPOCHS, params, flops, table:TRUTH."""
    # A search has none of these, and refuses them.
    archs: Hidden[tuple[str, ...]] = ()
    num_archs: Hidden[int] = 100
    arch_seed: Hidden[int] = 0
    epochs: Hidden[tuple[int, ...]] = OverEpochsConfig.epochs
    metrics: Hidden[tuple[str, ...]] = tuple(METRICS)

    @property
    def parsed(self) -> tuple[Goal, ...]:
        """What a search goes by."""
        return tuple(Goal.parse(text) for text in self.goals)

    @property
    def reading(self) -> OverEpochsConfig:
        """The study that trains and scores what is asked for: epochs are those of the goals."""
        epochs = sorted({goal.epochs for goal in self.parsed if goal.epochs is not None})
        # Whatever the goals: beside a training they cost nothing, and runs can share their rows.
        return replace(self, epochs=tuple(epochs) or (0,), metrics=tuple(METRICS))


def validate_cell_search(config: CellSearchConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    check_search(config, config.parsed)
    validate_training(config.reading)
    if len(config.batch_norms) != 1:
        raise InputError("batch_norms", list(config.batch_norms), "give one: a score is needed")
    if config.num_seeds != 1:
        raise InputError("num_seeds", config.num_seeds, "give 1: each cell is scored once")
    if config.select is not None:
        check_truth("select", config.select, SPACES[NASBENCH201])
    for name, cure in OF_GOALS.items():
        if getattr(config, name) != CellSearchConfig.__dataclass_fields__[name].default:
            raise InputError(name, getattr(config, name), cure)
