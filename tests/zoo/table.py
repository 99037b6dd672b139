"""All models of the zoo by name."""

from tests.zoo import (
    equinox_models,
    haiku_models,
    linen,
    linen_layers,
    nnx_models,
    plain,
    plain_layers,
    sequences,
)
from tests.zoo.model import Make

ZOO: dict[str, Make] = {}
PARTS = (
    linen,
    linen_layers,
    sequences,
    plain,
    plain_layers,
    nnx_models,
    equinox_models,
    haiku_models,
)
for part in PARTS:
    assert not ZOO.keys() & part.MODELS.keys()
    ZOO |= part.MODELS

LARGE = (
    "linen resnet",
    "linen convnext",
    "linen mlp-mixer",
    "linen vit, scanned",
    "linen vit, unscanned",
    "linen swin",
    "linen u-net",
    "linen densenet",
    "linen wavenet",
    "linen language model, tied",
)
"""The models that are worth timing; they take ``times``."""

ORDINARY = (
    "linen mlp",
    "linen resnet",
    "linen convnext",
    "linen mlp-mixer",
    "linen mobilenet, squeeze-excitation",
    "linen vit, scanned",
    "linen swin",
    "linen u-net",
    "linen weight norm",
    "linen transposed, strides 3",
    "linen film, dictionary of inputs",
    "linen shared layers",
    "linen siamese, one batch of both",
    "linen remat",
    "linen dropout, off",
    "linen lstm",
    "linen gru",
    "linen language model, tied",
    "numbers, integers and None among the parameters",
    "bfloat16 parameters",
    "frozen backbone",
    "pruned weights",
    "lora",
    "attention by einsum",
    "mixture of experts, top-1 gathered",
    "switch by an architecture",
    "branches by the data, under vmap",
    "compiled inside, rematerialised",
    "nnx mlp, dropout off",
    "nnx cnn, batch norm evaluated",
    "nnx attention",
    "nnx gru",
    "equinox mlp",
    "equinox cnn, channels first",
    "equinox gru, scan",
    "haiku mlp",
    "haiku lstm, time first",
    "haiku transformer, layer stack",
)
"""The models of the ordinary run of the tests, one of a kind; the others run with ``--slow``."""
