"""Sampling, mutation and crossover of AutoFormer's architectures."""

from functools import partial

import numpy as np
from jaxtyping import Array, Int32, PRNGKeyArray

from jaxntk.spaces import genes
from jaxntk.spaces.autoformer_cost import population_costs
from jaxntk.spaces.autoformer_encoding import TINY, Space, active_genes, canonical, extremes
from jaxntk.spaces.genes import GenesLike
from jaxntk.spaces.vit_cost import Limits


def sample(
    key: PRNGKeyArray,
    num: int,
    space: Space = TINY,
    *,
    limits: Limits | None = None,
    **network: int,
) -> Int32[np.ndarray, "num genes"]:
    """Draws architectures that differ; every choice of a draw is uniform, the depth as any other.

    Args:
        key: a JAX random key.
        num: how many.
        space: to draw from.
        limits: that parameters and FLOPs keep within, by rejection; None for none.
        **network: of the network that is counted; see :func:`population_costs`.

    Returns:
        Canonical encodings.

    Raises:
        InputError: fewer than one, limits that nothing can meet, or no end of draws in vain.

    Example:
        >>> import jax
        >>> archs = sample(jax.random.key(0), 3, limits=Limits(max_params=6e6))
        >>> bool((population_costs(archs).params <= 6e6).all())
        True
    """
    costs = partial(population_costs, space=space, **network)
    if limits is not None:
        limits.check_reach(*(costs(each[None]) for each in extremes(space)))
    return genes.sample_distinct(
        key,
        num,
        draw=lambda each, count: genes.sample(each, space.sizes, count),
        canonical=partial(canonical, space=space),
        admits=None if limits is None else lambda archs: limits.admits(costs(archs)),
    )


def mutate(key: PRNGKeyArray, arch: GenesLike, space: Space = TINY) -> Int32[Array, " genes"]:
    """Changes exactly one choice that counts, to another; both are uniform.

    A greater depth wakes the genes of the blocks it adds as they are: 0, the first option, in a
    canonical encoding. Works under ``jit`` and ``vmap``.

    Args:
        key: a JAX random key.
        arch: an encoding.
        space: that it belongs to.

    Returns:
        The mutated encoding, not canonical.

    Raises:
        InputError: not an encoding of the space.
    """
    parent = genes.on_device(arch, space.sizes, "arch")
    return genes.mutate(key, parent, space.sizes, active_genes(parent, space))


def crossover(
    key: PRNGKeyArray, a: GenesLike, b: GenesLike, space: Space = TINY
) -> Int32[Array, " genes"]:
    """Takes each choice from one of two parents, with equal chance.

    Works under ``jit`` and ``vmap``.

    Args:
        key: a JAX random key.
        a: the encoding of one parent.
        b: that of the other.
        space: that they belong to.

    Returns:
        The encoding of the child, not canonical.

    Raises:
        InputError: a parent that is no encoding of the space.
    """
    parents = (genes.on_device(each, space.sizes, name) for each, name in ((a, "a"), (b, "b")))
    return genes.crossover(key, *parents)
