"""Searches NAS-Bench-201's cells by kernels after a little training, or by other scores."""

from pathlib import Path
from typing import Any

from rich.console import Console

from jaxntk.data.truths import find_table, table_look_up
from jaxntk.population.devices import join_named
from jaxntk.runs import run_folder
from jaxntk.spaces import nasbench201
from jaxntk.spaces.registry import NASBENCH201, SPACES
from jaxntk.studies.search.cell_scores import CellScores
from jaxntk.studies.search.cell_search_config import CellSearchConfig, validate_cell_search
from jaxntk.studies.search.guided import run_guided_search
from jaxntk.studies.search.searchable import Searchable, keeps_limits, limited_to, own_folder
from jaxntk.studies.search.shared_scores import shared

NAME = "cell_search"


def run_cell_search(
    config: CellSearchConfig, out: Path, *, command: str, console: Console
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
            cell keeps.
    """
    validate_cell_search(config)
    join_named(config.processes, console)
    cells = searchable_cells(config, out, console)
    return run_guided_search(
        config, cells, validate_cell_search, out, command=command, console=console
    )


def searchable_cells(config: CellSearchConfig, out: Path, console: Console) -> Searchable:
    """Loads what a search of cells needs; writes nothing.

    Args:
        config: the configuration.
        out: folder of the run.
        console: told of what is compiled.

    Returns:
        The space, its scores and its accuracies.

    Raises:
        InputError: anything wrong with the data or a table, or a limit that no cell keeps.
    """
    scores = CellScores(config, own_folder(out), console)
    costs = scores.study.job.costs
    space = SPACES[NASBENCH201]
    cells = nasbench201.enumerate_space()
    table = find_table(config.data_dir, config.table)
    truths = [config.truth, *([] if config.select is None else [config.select])]
    look_ups = [table_look_up(truth, space, table) for truth in truths]
    known = [look_up(cells) for look_up in look_ups]
    return Searchable(
        name=NAME,
        space=limited_to(space, costs, config),
        scores=shared(scores),
        describe=space.describe,
        draw=space.draw,
        costs=costs,
        digest=run_folder.digest_of(scores.study.digest, *known),
        of=config.truth,
        truth=look_ups[0],
        select=None if config.select is None else look_ups[1],
        everything=cells[keeps_limits(cells, costs, config)],
    )
