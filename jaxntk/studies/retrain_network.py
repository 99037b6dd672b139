"""The network of one architecture, to be trained by itself.

A transformer's blocks are all as large as its largest one, rather than as the space's; a cell's
network holds all operations, as everywhere here, and uses its own.
"""

from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxntk.data.images import ImageDataset
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.model import Model
from jaxntk.networks.nasbench201 import BatchNormMode, NasBench201, cell_model
from jaxntk.networks.pit import PiT
from jaxntk.networks.pit_classes import class_of
from jaxntk.networks.vit import transformer_model
from jaxntk.spaces import autoformer, pit
from jaxntk.spaces.registry import AUTOFORMERS, NASBENCH201, PIT, SPACES
from jaxntk.studies.job import check_image_shape
from jaxntk.studies.retrain_config import RetrainConfig


def own_model(config: RetrainConfig, num_classes: int) -> tuple[Model, Int[np.ndarray, " genes"]]:
    """Makes the network of an architecture: its depth and width, blocks as its largest one.

    Args:
        config: names space and architecture.
        num_classes: of the data.

    Returns:
        The network as a model, and the encoding it takes.

    Raises:
        InputError: not an architecture of the space.
    """
    if config.space == NASBENCH201:
        sizes = (num_classes, config.channels, config.cells_per_stage)
        network = NasBench201(*sizes, BatchNormMode.BATCH)
        return cell_model(network), SPACES[NASBENCH201].read(config.arch)
    if config.space == PIT:
        arch, patch = pit.from_string(config.arch), config.patch
        own = class_of(arch, len(pit.BASE_DIMS) * len(pit.HEADS) * len(pit.MLP_RATIOS))
        return transformer_model(PiT(num_classes, own, patch, patch // 2)), arch
    space = AUTOFORMERS[config.space]
    sizes = autoformer.decode(autoformer.from_string(config.arch, space), space)
    small = replace(
        space,
        embed_dims=(sizes.embed_dim,),
        depths=(len(sizes.heads),),
        heads=tuple(sorted(set(sizes.heads))),
        mlp_ratios=tuple(sorted(set(sizes.mlp_ratios))),
    )
    network = AutoFormer(small, num_classes, config.patch)
    return transformer_model(network), autoformer.encode(sizes, small)


def own_params(config: RetrainConfig, data: ImageDataset) -> int | None:
    """Counts the parameters that the architecture uses.

    Args:
        config: names space and architecture.
        data: gives the sizes of images and classifier.

    Returns:
        The number; None for pit, whose counts are of its own patches only.
    """
    if config.space == PIT:
        return None
    side, channels = data.x_train.shape[2:]
    sizes = {"image_size": side, "in_channels": channels, "num_classes": data.num_classes}
    space, own = SPACES[config.space], {**asdict(config), "patch_size": config.patch}
    sizes |= {name: own[name] for name in space.network}
    return int(space.costs(space.read(config.arch)[None], **sizes).params[0])


def check_images(
    config: RetrainConfig,
    model: Model,
    arch: Int[np.ndarray, " genes"],
    shape: tuple[int, ...],
) -> None:
    """Refuses images that a network cannot take.

    Args:
        config: names the space.
        model: the network.
        arch: the encoding it takes.
        shape: height, width, channels.

    Raises:
        InputError: images that stages or patches do not fit.
    """
    if config.space == NASBENCH201:
        check_image_shape(config.data, shape)
        return
    x = jax.ShapeDtypeStruct((1, *shape), config.dtype)
    jax.eval_shape(model.network.init, jax.random.key(0), x, jnp.asarray(arch))
