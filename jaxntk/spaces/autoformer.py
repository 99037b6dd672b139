"""The AutoFormer search spaces of vision transformers (Chen et al., ICCV 2021, arXiv 2107.00651).

A plain vision transformer with one embedding dimension and a number of blocks; each block has its
own number of heads and its own MLP ratio. An architecture is a vector of 2 + 2 D integers, D being
the greatest depth: the index of the embedding dimension, that of the depth, those of the D numbers
of heads and those of the D ratios. Genes of blocks beyond the depth are dormant, 0 in the canonical
form.

Heads have 64 dimensions, whatever the embedding, as in AutoFormer, or embedding / heads, as in
ViT-Bench-101 (Wei et al., 2023, arXiv 2312.09059), whose architectures are those of
:data:`VITBENCH101`. AutoFormer's relative positions are left out, here and there.

This module gathers the whole interface: encoding and costs.
"""

from jaxntk.spaces.autoformer_cost import population_costs
from jaxntk.spaces.autoformer_encoding import (
    BASE,
    DIGITS_VIT,
    SMALL,
    TINY,
    VITBENCH101,
    Choices,
    Sizes,
    active_genes,
    blocks,
    canonical,
    decode,
    encode,
    from_string,
    to_string,
)

__all__ = [
    "BASE",
    "DIGITS_VIT",
    "SMALL",
    "TINY",
    "VITBENCH101",
    "Choices",
    "Sizes",
    "active_genes",
    "blocks",
    "canonical",
    "decode",
    "encode",
    "from_string",
    "population_costs",
    "to_string",
]
