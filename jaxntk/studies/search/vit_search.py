"""Searches spaces of vision transformers by the NTK, by ViNTKs, or by other scores."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from matplotlib.figure import Figure
from rich.console import Console

from jaxntk.population.devices import join_named
from jaxntk.results.transformer_plot import transformer_figure
from jaxntk.runs import run_folder
from jaxntk.search import SearchSpace, limited
from jaxntk.studies.search.guided import run_guided_search
from jaxntk.studies.search.searchable import (
    Costs,
    Searchable,
    keeps_limits,
    limited_by_table,
    limits_key,
    own_folder,
)
from jaxntk.studies.search.shared_scores import shared
from jaxntk.studies.search.vit_scores import VitScores, look_up
from jaxntk.studies.search.vit_search_config import VitSearchConfig, validate_vit_search
from jaxntk.studies.vit_spaces import TransformerSpace

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


def limited_by_counting(
    space: TransformerSpace, costs: Costs, config: VitSearchConfig
) -> SearchSpace:
    """Limits a space of AutoFormer's kind that is too large to be listed.

    What an architecture costs is what it costs without blocks and what each block adds; both are
    read off the costs of architectures whose blocks are all alike. Counts are added up in float32,
    so that limits hold with a margin of a millionth.

    Args:
        space: the space.
        costs: of its architectures.
        config: has the limits.

    Returns:
        The space; the same one without limits.

    Raises:
        InputError: limits that no architecture keeps.
    """
    limits = {"params": config.max_params, "flops": config.max_flops}
    limits = {name: most for name, most in limits.items() if most is not None}
    if not limits:
        return space.genes
    fixed, added = _cost_tables(space, costs, tuple(limits))
    depths, blocks = jnp.asarray(space.options.depths), space.options.max_depth
    most = jnp.asarray([(1 - 1e-6) * each for each in limits.values()], jnp.float32)

    def admits(arch: Int[Array, " genes"]) -> Bool[Array, ""]:
        heads, ratios = arch[2 : 2 + blocks], arch[2 + blocks :]
        awake = jnp.arange(blocks) < depths[arch[1]]
        each = jnp.where(awake, added[:, arch[0], heads, ratios], 0.0)
        return (fixed[:, arch[0]] + each.sum(axis=1) <= most).all()

    return limited(space.genes, admits, limits_key(config))


def _cost_tables(
    space: TransformerSpace, costs: Costs, names: tuple[str, ...]
) -> tuple[Float[Array, "counts widths"], Float[Array, "counts widths heads ratios"]]:
    """What an architecture costs without blocks, and what a block adds."""
    options, depths = space.options, np.array(space.options.depths)
    shape = (len(options.embed_dims), len(options.heads), len(options.mlp_ratios))
    width, heads, ratio = (each.ravel() for each in np.indices(shape))

    def of_depth(at: int) -> Float[np.ndarray, "counts alike"]:
        repeated = [np.repeat(each[:, None], options.max_depth, axis=1) for each in (heads, ratio)]
        depth = np.full((len(width), 1), at)
        archs = np.concatenate([width[:, None], depth, *repeated], axis=1).astype(np.int32)
        counts = costs(archs)
        return np.array([getattr(counts, name) for name in names], np.float64)

    low, high = int(np.argmin(depths)), int(np.argmax(depths))
    added = (of_depth(high) - of_depth(low)) / (depths[high] - depths[low])
    fixed = (of_depth(low) - depths[low] * added).reshape(len(names), *shape)[:, :, 0, 0]
    added = added.reshape(len(names), *shape)
    return jnp.asarray(fixed, jnp.float32), jnp.asarray(added, jnp.float32)


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
    space, truth = scores.space, config.judged_by
    everything = space.everything
    if everything is None:
        genes = limited_by_counting(space, scores.costs, config)
    else:
        genes = limited_by_table(space.genes, everything, scores.costs, config)
        everything = everything[keeps_limits(everything, scores.costs, config)]

    def draw(arch: Int[np.ndarray, " genes"], title: str) -> Figure:
        blocks = space.blocks(arch)
        return transformer_figure(blocks.widths, blocks.heads, blocks.hidden, title)

    known = [] if truth is None or everything is None else [look_up(truth)(everything)]
    return Searchable(
        name=NAME,
        space=genes,
        scores=shared(scores),
        describe=lambda arch: {"arch": space.to_string(arch)},
        draw=draw,
        costs=scores.costs,
        digest=run_folder.digest_of(scores.digest, *known),
        of="score" if truth is None else truth,
        truth=None if truth is None else look_up(truth),
        select=None if config.select is None else look_up(config.select),
        everything=everything,
    )
