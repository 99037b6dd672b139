"""The search spaces by name."""

from collections.abc import Mapping
from functools import partial

from matplotlib.figure import Figure

from jaxntk.results.plots import cell_figure
from jaxntk.results.transformer_plot import transformer_figure
from jaxntk.spaces import autoformer, genes, nasbench201, pit
from jaxntk.spaces.autoformer_limits import keeps
from jaxntk.spaces.space import Arch, Archs, Space
from jaxntk.spaces.vit_cost import Blocks

NASBENCH201, PIT, DIGITS_VIT = "nasbench201", "pit", "digits-vit"
AUTOFORMERS: Mapping[str, autoformer.Choices] = {
    "autoformer-tiny": autoformer.TINY,
    "autoformer-small": autoformer.SMALL,
    "autoformer-base": autoformer.BASE,
    "autoformer-vitbench101": autoformer.VITBENCH101,
    DIGITS_VIT: autoformer.DIGITS_VIT,
}
"""Spaces of AutoFormer's kind: what can be chosen."""


TRANSFORMER_COUNTS = ("depth", "width", "flops", "params")


def autoformer_space(name: str, choices: autoformer.Choices) -> Space:
    """Returns a space of AutoFormer's kind.

    Args:
        name: as configurations have it.
        choices: what can be chosen.

    Returns:
        The space.
    """
    write = partial(autoformer.to_string, space=choices)
    read = partial(autoformer.from_string, space=choices)

    def draw(arch: Arch, title: str) -> Figure:
        return _draw_blocks(autoformer.blocks(arch, choices), title)

    return Space(
        name=name,
        sizes=choices.sizes,
        read=read,
        describe=lambda arch: {"arch": write(arch)},
        canonical=partial(autoformer.canonical, space=choices),
        function=write,
        representative=read,
        costs=partial(autoformer.population_costs, space=choices),
        network=("patch_size",),
        baselines=TRANSFORMER_COUNTS,
        draw=draw,
        active=partial(autoformer.active_genes, space=choices),
        limit=partial(keeps, choices),
    )


def _draw_blocks(blocks: Blocks, title: str) -> Figure:
    return transformer_figure(blocks.widths, blocks.heads, blocks.hidden, title)


def _canonical_pit(archs: Archs) -> Archs:
    return genes.check_genes(archs, pit.GENE_SIZES)


def _describe_cell(arch: Arch) -> dict[str, str]:
    return {"arch": nasbench201.decode(arch), "ops": nasbench201.format_ops(arch)}


SPACES: dict[str, Space] = {
    NASBENCH201: Space(
        name=NASBENCH201,
        sizes=(len(nasbench201.OPS),) * nasbench201.NUM_EDGES,
        read=nasbench201.read,
        describe=_describe_cell,
        canonical=nasbench201.check_archs,
        function=nasbench201.tied_function_form,
        representative=nasbench201.tied_representative,
        costs=nasbench201.population_costs,
        network=("channels", "cells_per_stage"),
        baselines=("params", "flops", "convolutions", "live_params"),
        same=nasbench201.function_form,
        draw=lambda arch, title: cell_figure(nasbench201.decode(arch), title),
    ),
    **{name: autoformer_space(name, choices) for name, choices in AUTOFORMERS.items()},
    PIT: Space(
        name=PIT,
        sizes=pit.GENE_SIZES,
        read=pit.from_string,
        describe=lambda arch: {"arch": pit.to_string(arch)},
        canonical=_canonical_pit,
        function=pit.to_string,
        representative=pit.from_string,
        costs=pit.population_costs,
        network=("patch_size",),
        baselines=TRANSFORMER_COUNTS,
        draw=lambda arch, title: _draw_blocks(pit.blocks(arch), title),
    ),
}
