"""What a configuration determines before the first kernel is computed."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxntk.data.batches import Batch, Standardization, make_batch, standardize
from jaxntk.data.images import ImageDataset, load_images
from jaxntk.errors import InputError
from jaxntk.kernels.program import IMAGE_MULTIPLE, KernelSettings
from jaxntk.networks.model import Model
from jaxntk.networks.nasbench201 import BatchNormMode, NasBench201, cell_model
from jaxntk.spaces import nasbench201
from jaxntk.studies.config import KernelConfig, ScoreConfig, validate_scoring


@dataclass(frozen=True, eq=False)
class Job:
    """Everything a configuration determines before the first kernel is computed.

    Args:
        config: the configuration.
        archs: the cells.
        dataset: standardised images.
        standardization: what they were standardised with.
        batch: the images the kernel is computed on.
    """

    config: ScoreConfig
    archs: Int[np.ndarray, "num 6"]
    dataset: ImageDataset
    standardization: Standardization
    batch: Batch

    @property
    def network(self) -> NasBench201:
        """The network, in the batch-normalisation mode of the configuration."""
        return NasBench201(
            num_classes=self.dataset.num_classes,
            channels=self.config.channels,
            cells_per_stage=self.config.cells_per_stage,
            batch_norm=BatchNormMode(self.config.batch_norm),
            initializer=self.config.initializer,
        )

    @property
    def model(self) -> Model:
        """The network as it is trained and tested."""
        return cell_model(self.network)

    @property
    def settings(self) -> KernelSettings:
        """The kernel wanted."""
        return KernelSettings(
            batch_norm=self.config.batch_norm,
            outputs=self.config.outputs,
            parameters=self.config.parameters,
            dtype=self.config.dtype,
            tile=self.config.tile,
            matmul_precision=self.config.matmul_precision,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """What the parameters of a cell's network are counted with."""
        return {
            "channels": self.config.channels,
            "cells_per_stage": self.config.cells_per_stage,
            "num_classes": self.dataset.num_classes,
            "in_channels": self.dataset.x_train.shape[3],
        }

    @property
    def data(self) -> dict[str, Any]:
        """What a summary says of the images, as JSON values."""
        return {
            "name": self.dataset.name,
            "num_images": self.config.num_images,
            "how": self.config.batch,
            "seed": self.config.batch_seed,
            "split": self.config.split,
            "standardization": asdict(self.standardization),
        }


def prepare(config: ScoreConfig) -> Job:
    """Checks a configuration and loads what it names; writes nothing.

    Args:
        config: the configuration.

    Returns:
        The job.

    Raises:
        InputError: anything wrong with the configuration or the data.
    """
    validate_scoring(config)
    archs = population(config)
    dataset, numbers = standardize(load_images(config.data, data_dir=config.data_dir))
    check_image_shape(config.data, dataset.x_train.shape[1:])
    batch = make_batch(
        dataset, config.num_images, split=config.split, how=config.batch, seed=config.batch_seed
    )
    return Job(config, archs, dataset, numbers, batch)


def check_image_shape(data: str, shape: tuple[int, ...]) -> None:
    """Refuses images that the network cannot halve twice.

    Args:
        data: what the images are called.
        shape: height, width, channels.

    Raises:
        InputError: they are not square, or no multiple of ``IMAGE_MULTIPLE`` pixels.
    """
    if shape[0] != shape[1] or shape[0] % IMAGE_MULTIPLE:
        cure = f"give square images of a multiple of {IMAGE_MULTIPLE} pixels: they are halved twice"
        raise InputError("data", f"images of shape {shape} in {data}", cure)


def population(config: KernelConfig) -> Int[np.ndarray, "num 6"]:
    """Returns the cells that a configuration names or draws.

    Args:
        config: the configuration, checked.

    Returns:
        The cells, in the order in which they are scored.
    """
    if config.archs:
        return np.stack([nasbench201.read(arch) for arch in config.archs])
    return nasbench201.sample(jax.random.key(config.arch_seed), config.num_archs)
