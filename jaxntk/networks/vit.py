"""Both families of vision transformers as one: their logits and the length of their encodings."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Float, Int

from jaxntk.networks import autoformer, pit
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.pit import PiT
from jaxntk.spaces.pit import GENE_SIZES

Transformer = AutoFormer | PiT


def logits(
    network: Transformer,
    params: Mapping[str, Any],
    x: Float[Array, "n h w c"],
    arch: Int[Array, " genes"],
) -> Float[Array, "n classes"]:
    """Applies a network of either family.

    Args:
        network: the network.
        params: its parameters.
        x: standardised images.
        arch: the encoding of an architecture.

    Returns:
        The logits.

    Raises:
        InputError: an architecture that is no part of a PiT's class, where it is not traced.
    """
    if isinstance(network, PiT):
        return pit.logits(network, params, x, arch)
    return autoformer.logits(network, params, x, arch)


def num_genes(network: Transformer) -> int:
    """Returns the length of the encodings that a network takes.

    Args:
        network: of either family.

    Returns:
        The number of genes.
    """
    return len(GENE_SIZES if isinstance(network, PiT) else network.space.sizes)
