"""The configuration of the pruning of a NAS-Bench-201 supernet by kernels."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from jaxntk.data.truths import check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.metrics import METRICS
from jaxntk.runs.config import Hidden
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.studies.config import ScoreConfig, validate_scoring
from jaxntk.studies.search.options import check_weights

UNUSED = ("num_archs", "arch_seed", "metrics")
"""Fields of other studies of cells that mean nothing here."""


@dataclass(frozen=True, kw_only=True)
class PruneConfig(ScoreConfig):
    """Prune a supernet of all NAS-Bench-201 cells down to one cell."""

    goals: tuple[str, ...] = ("condition_number",)
    """Metrics of a supernet's kernel; of several, ranks are added up, as TE-NAS does."""
    weights: tuple[float, ...] = ()
    """Of the ranks of several goals; by default all 1."""
    searches: int = 5
    """Independent prunings, each with initialisations of its own."""
    truth: str = "digits201/test"
    """What the cells are judged by: digits201/test, a column such as cifar10/test/200, or a CSV
    file with columns arch and accuracy."""
    table: str | None = None
    """NAS-Bench-201's table nasbench201.csv.gz; by default looked for in data_dir."""
    batch_norm: Literal["batch", "frozen"] = "frozen"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Batch normalisation while the kernel is taken; batch is exact and dear."""
    dtype: Literal["float32", "mixed", "float64"] = "float64"
    """Precision; in float32 many supernets have no condition number."""

    # A supernet has none of these, and refuses them.
    archs: Hidden[tuple[str, ...]] = ()
    num_archs: Hidden[int] = 100
    arch_seed: Hidden[int] = 0
    metrics: Hidden[tuple[str, ...]] = tuple(METRICS)
    tile: Hidden[int | None] = None
    score_cache: str | None = None
    """Folder in which runs share their scores: no supernet is scored that any of them has scored
    under the same settings."""

    @property
    def cache(self) -> Path | None:
        """The folder of shared scores."""
        return None if self.score_cache is None else Path(self.score_cache)

    def seeds(self, search: int) -> range:
        """Lists the initialisations whose scores are averaged in one pruning.

        Args:
            search: its number.

        Returns:
            The seeds.
        """
        first = self.init_seed + search * self.num_inits
        return range(first, first + self.num_inits)


def validate_prune(config: PruneConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    for name in config.goals:
        check_choice("goals", name, METRICS)
    if not config.goals or len(set(config.goals)) < len(config.goals):
        raise InputError("goals", list(config.goals), "give at least one, and none twice")
    check_weights(config.weights, config.goals)
    validate_scoring(config)
    if config.archs:
        raise InputError("archs", list(config.archs), "give none: every cell is in the supernet")
    if config.tile is not None:
        raise InputError("tile", config.tile, "give none: a supernet stores no statistics")
    for field in fields(config):
        if field.name in UNUSED and getattr(config, field.name) != field.default:
            cure = "leave it out: a pruning draws no cells and reads its goals only"
            raise InputError(field.name, getattr(config, field.name), cure)
    if config.searches < 1:
        raise InputError("searches", config.searches, "give at least 1")
    check_truth("truth", config.truth, SPACES[NASBENCH201])
