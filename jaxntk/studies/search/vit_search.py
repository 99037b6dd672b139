"""Searches spaces of vision transformers by the NTK, by ViNTKs, or by other scores."""

from pathlib import Path
from typing import Any

from rich.console import Console

from jaxntk.data.truths import table_look_up
from jaxntk.population.devices import join_named
from jaxntk.runs import run_folder
from jaxntk.spaces.space import listed
from jaxntk.studies.search.guided import run_guided_search
from jaxntk.studies.search.searchable import (
    Searchable,
    keeps_limits,
    limited_to,
    own_folder,
)
from jaxntk.studies.search.shared_scores import shared
from jaxntk.studies.search.vit_scores import VitScores
from jaxntk.studies.search.vit_search_config import VitSearchConfig, validate_vit_search

NAME = "vit_search"


def run_vit_search(
    config: VitSearchConfig, out: Path, *, command: str, console: Console
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
        InputError: anything wrong with configuration, data or folder, or a limit that no
            architecture keeps.
    """
    validate_vit_search(config)
    join_named(config.processes, console)
    transformers = searchable_transformers(config, out, console)
    return run_guided_search(
        config, transformers, validate_vit_search, out, command=command, console=console
    )


def searchable_transformers(config: VitSearchConfig, out: Path, console: Console) -> Searchable:
    """Loads what a search of transformers needs; writes nothing.

    Args:
        config: the configuration.
        out: folder of the run.
        console: told of what is compiled.

    Returns:
        The space, its scores and, of Digits-ViT, its accuracies.

    Raises:
        InputError: anything wrong with the data, or a limit that no architecture keeps.
    """
    scores = VitScores(config, own_folder(out), console)
    space, truth, every = scores.space, config.judged_by, listed(scores.space)
    worth = None if truth is None else table_look_up(truth, space)
    if every is not None:
        every = every[keeps_limits(every, scores.costs, config)]
    known = [] if worth is None or every is None else [worth(every)]
    return Searchable(
        name=NAME,
        space=limited_to(space, scores.costs, config),
        scores=shared(scores),
        describe=space.describe,
        draw=space.draw,
        costs=scores.costs,
        digest=run_folder.digest_of(scores.digest, *known),
        of="score" if truth is None else truth,
        truth=worth,
        select=None if config.select is None else table_look_up(config.select, space),
        everything=every,
    )
