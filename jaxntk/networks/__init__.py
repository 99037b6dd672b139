"""Flax networks that take their architecture as an input, and the layers they are made of."""

from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.conv import Conv
from jaxntk.networks.model import Model, Routed
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model, supernet_model
from jaxntk.networks.nasbench201_supernet import Supernet
from jaxntk.networks.pit import PiT
from jaxntk.networks.registry import FAMILIES, Family, add_space
from jaxntk.networks.vit import pyramid_model, transformer_model

__all__ = [
    "FAMILIES",
    "AutoFormer",
    "BatchNormMode",
    "Conv",
    "Family",
    "Model",
    "NasBench201",
    "PiT",
    "Routed",
    "Supernet",
    "add_space",
    "cell_model",
    "pyramid_model",
    "supernet_model",
    "transformer_model",
]
