"""The configuration of a search that is guided by any scores, in any space."""

from dataclasses import dataclass, replace

from jaxntk.data.truths import check_networks, check_truth
from jaxntk.errors import InputError
from jaxntk.kernels.fourier import NTK
from jaxntk.metrics import METRICS
from jaxntk.networks.registry import check_space
from jaxntk.runs.config import Hidden
from jaxntk.spaces.registry import SPACES
from jaxntk.studies.over_epochs_config import OverEpochsConfig, validate_training
from jaxntk.studies.readings import TABLE, Reading, parse_reading
from jaxntk.studies.search.options import SearchOptions, check_search

_CHOSEN = "leave it out: a search chooses its architectures"
OF_GOALS = {
    "archs": _CHOSEN,
    "num_archs": _CHOSEN,
    "arch_seed": _CHOSEN,
    "kernels": "leave it out: goals say of which kernel, as in lga@pixel_values:sigma=1/sum",
    "epochs": "leave it out: goals say after how many epochs, as in lga_centred@3",
    "metrics": "leave it out: --goals says by what a search goes",
}
"""Fields of studies of given architectures, which a search does not have."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig(SearchOptions, OverEpochsConfig):
    """Search a space by kernels, before or after a little training, or by other scores."""

    goals: tuple[str, ...] = ("lga_centred@0",)
    """Scores that a search goes by: METRIC, METRIC@EPOCHS, METRIC@VINTK (see docs/vintk.md),
    valid_accuracy@EPOCHS, train_accuracy@EPOCHS, loss@EPOCHS, loss_sum@EPOCHS, params, flops, what
    else the space counts, table:TRUTH."""
    truth: str | None = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """What choices are judged by: digits201/test, digits_vit/test, a column of NAS-Bench-201 such
    as cifar10/test/200, or a CSV file with columns arch and accuracy; by default nothing."""
    # A search has none of these, and refuses them.
    archs: Hidden[tuple[str, ...]] = ()
    num_archs: Hidden[int] = 100
    arch_seed: Hidden[int] = 0
    kernels: Hidden[tuple[str, ...]] = (NTK,)
    epochs: Hidden[tuple[int, ...]] = OverEpochsConfig.epochs
    metrics: Hidden[tuple[str, ...]] = tuple(METRICS)

    @property
    def parsed(self) -> tuple[Reading, ...]:
        """What a search goes by."""
        return tuple(parse_reading(text, SPACES[self.space]) for text in self.goals)

    @property
    def reading(self) -> OverEpochsConfig:
        """The study that trains and scores what is asked for: its epochs are those of the goals."""
        epochs = sorted({goal.epochs for goal in self.parsed if goal.epochs is not None})
        kernels = {goal.kernel for goal in self.parsed if goal.kernel is not None}
        if not kernels or any(epochs):
            kernels.add(NTK)
        # Whatever the goals: beside a training they cost nothing, and runs can share their rows.
        return replace(
            self,
            epochs=tuple(epochs) or (0,),
            kernels=tuple(sorted(kernels, key=lambda name: (name != NTK, name))),
            metrics=tuple(METRICS),
            # However many there are: they are chosen later.
            num_archs=1,
        )


def validate_search(config: SearchConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    check_space(config.space)
    check_search(config, config.parsed)
    validate_training(config.reading)
    if len(config.batch_norms) != 1:
        raise InputError("batch_norms", list(config.batch_norms), "give one: a score is needed")
    if config.num_seeds != 1:
        raise InputError("num_seeds", config.num_seeds, "give 1: each architecture is scored once")
    named = [
        ("goals", goal.name.removeprefix(TABLE))
        for goal in config.parsed
        if goal.name.startswith(TABLE)
    ]
    given = {name: getattr(config, name) for name in ("truth", "select")}
    named += [(name, truth) for name, truth in given.items() if truth is not None]
    for name, truth in named:
        check_truth(name, truth, SPACES[config.space])
        networks = (config.sizes, config.data, config.image_size)
        check_networks(name, truth, SPACES[config.space], *networks)
    for name, cure in OF_GOALS.items():
        if getattr(config, name) != SearchConfig.__dataclass_fields__[name].default:
            raise InputError(name, getattr(config, name), cure)
