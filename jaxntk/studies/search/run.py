"""Searches a space by kernels, before or after a little training, or by other scores."""

from pathlib import Path
from typing import Any

from rich.console import Console

from jaxntk.data.truths import find_table, table_look_up
from jaxntk.population.devices import join_named
from jaxntk.runs import run_folder
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import listed
from jaxntk.studies.search.config import SearchConfig, validate_search
from jaxntk.studies.search.guided import run_guided_search
from jaxntk.studies.search.scores import ArchScores
from jaxntk.studies.search.searchable import Searchable, keeps_limits, limited_to, own_folder
from jaxntk.studies.search.shared_scores import shared

NAME = "search"


def run_search(
    config: SearchConfig, out: Path, *, command: str, console: Console
) -> dict[str, Any]:
    """Runs the searches of a configuration and says what their choices are worth.

    The same folder again goes on with what is missing.

    Args:
        config: the configuration.
        out: folder of the run.
        command: the line that starts it again.
        console: where progress and results are shown.

    Returns:
        The summary, as written to ``summary.json``.

    Raises:
        InputError: anything wrong with configuration, data, table or folder, or a limit that no
            architecture keeps.
    """
    validate_search(config)
    join_named(config.processes, console)
    found = searchable(config, out, console)
    return run_guided_search(config, found, validate_search, out, command=command, console=console)


def searchable(config: SearchConfig, out: Path, console: Console) -> Searchable:
    """Loads what a search needs; writes nothing.

    Args:
        config: the configuration.
        out: folder of the run.
        console: told of what is compiled.

    Returns:
        The space, its scores and its accuracies.

    Raises:
        InputError: anything wrong with the data or a table, or a limit that no architecture keeps.
    """
    scores = ArchScores(config, own_folder(out), console)
    space, costs = SPACES[config.space], scores.study.job.costs
    table = find_table(config.data_dir, config.table)
    truths = {name: getattr(config, name) for name in ("truth", "select")}
    known = {
        name: None if truth is None else table_look_up(truth, space, table)
        for name, truth in truths.items()
    }
    every = listed(space)
    if every is not None:
        every = every[keeps_limits(every, costs, config)]
    worth = [look_up(every) for look_up in known.values() if look_up and every is not None]
    return Searchable(
        name=NAME,
        space=limited_to(space, costs, config),
        scores=shared(scores),
        describe=space.describe,
        draw=space.draw,
        costs=costs,
        digest=run_folder.digest_of(scores.study.digest, *worth),
        of="score" if config.truth is None else config.truth,
        truth=known["truth"],
        select=known["select"],
        everything=every,
    )
