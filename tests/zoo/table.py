"""All models of the zoo by name."""

from tests.zoo import equinox_models, haiku_models, linen, nnx_models, plain, sequences
from tests.zoo.model import Make

ZOO: dict[str, Make] = {}
for part in (linen, sequences, plain, nnx_models, equinox_models, haiku_models):
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
