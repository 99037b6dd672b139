"""What a configuration determines before the first kernel is computed."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxntk.data.batches import Batch, Standardization, make_batch, resized, standardize
from jaxntk.data.images import ImageDataset, load_images
from jaxntk.data.reduced import some_classes
from jaxntk.errors import InputError
from jaxntk.kernels.fourier import ViNTK, named_kernel
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings, check_settings
from jaxntk.networks.model import Model
from jaxntk.networks.registry import FAMILIES
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import Archs, Costs, Space, label, sample
from jaxntk.studies.config import KernelConfig, ScoreConfig, validate_scoring


@dataclass(frozen=True, eq=False)
class Job:
    """Everything a configuration determines before the first kernel is computed.

    Args:
        config: the configuration.
        archs: the architectures.
        dataset: standardised images.
        standardization: what they were standardised with.
        batch: the images the kernel is computed on.
    """

    config: ScoreConfig
    archs: Int[np.ndarray, "num genes"]
    dataset: ImageDataset
    standardization: Standardization
    batch: Batch

    @property
    def space(self) -> Space:
        """The search space."""
        return SPACES[self.config.space]

    @cached_property
    def model(self) -> Model:
        """The network of all architectures."""
        build = FAMILIES[self.config.space].build
        return build(self.dataset.num_classes, **self.config.sizes)

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
    def how(self) -> ViNTK | None:
        """The ViNTK that is scored; None for the NTK."""
        return named_kernel(self.config.kernel)

    @property
    def names(self) -> list[str]:
        """The shortest names of the architectures."""
        return [label(self.space, arch) for arch in self.archs]

    def kernels(
        self, say: Callable[[str], None], tiles: Mapping[str, int] | None = None
    ) -> ModelKernels:
        """Returns the kernels of all architectures; nothing is compiled yet.

        Args:
            say: told in a line of what is compiled.
            tiles: those that programs began with in an earlier run.

        Returns:
            The kernels, on the images of the batch.
        """
        return ModelKernels(
            self.model,
            self.settings,
            self.batch.x,
            init_seed=self.config.init_seed,
            feature_seed=self.config.feature_seed,
            say=say,
            tiles=tiles or {},
        )

    def costs(self, archs: Archs) -> Costs:
        """Counts parameters and what else the space counts.

        Args:
            archs: the architectures.

        Returns:
            The counts of their networks on the images of the batch.
        """
        counted = {name: self.config.sizes[name] for name in self.space.network}
        return self.space.costs(
            archs,
            **counted,
            image_size=self.batch.x.shape[1],
            in_channels=self.batch.x.shape[3],
            num_classes=self.dataset.num_classes,
        )

    def baselines(self, archs: Archs) -> list[dict[str, int]]:
        """Lists the trivial scores of architectures.

        Args:
            archs: the architectures.

        Returns:
            Counts by name, an entry an architecture.
        """
        costs = self.costs(archs)
        return [
            {name: int(getattr(costs, name)[at]) for name in self.space.baselines}
            for at in range(len(archs))
        ]

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
    batch = kernel_batch(config, dataset)
    return checked(Job(config, archs, dataset, numbers, batch))


def kernel_batch(config: KernelConfig, dataset: ImageDataset) -> Batch:
    """Chooses the images that kernels are computed on.

    Args:
        config: says which, and of what size.
        dataset: standardised images.

    Returns:
        The images.

    Raises:
        InputError: there are not so many.
    """
    few = dataset
    if config.batch_classes is not None:
        few = some_classes(dataset, config.batch_classes, config.batch_seed)
    batch = make_batch(
        few, config.num_images, split=config.split, how=config.batch, seed=config.batch_seed
    )
    if config.image_size is None or batch.x.shape[1:3] == (config.image_size,) * 2:
        return batch
    return resized(batch, config.image_size)


def checked(job: Job) -> Job:
    """Refuses images that the networks do not take, or settings that they do not have.

    Args:
        job: the job.

    Returns:
        The same.

    Raises:
        InputError: it cannot be done.
    """
    check_images(job.config.data, job.model, job.batch.x.shape[1:])
    check_settings(job.model, job.settings, job.batch.x.shape)
    # Images smaller than a patch are told by what counts tokens.
    job.costs(job.archs[:1])
    look(job, job.how)
    return job


def look(job: Job, how: ViNTK | None) -> None:
    """Refuses Fourier features that the images or the network do not have.

    Args:
        job: the job.
        how: the ViNTK that is taken; None for the NTK.

    Raises:
        InputError: there are none.
    """
    if how is not None:
        replace(job.kernels(lambda line: None), x=job.batch.x[:1]).see(how.map)


def check_images(data: str, model: Model, shape: tuple[int, ...]) -> None:
    """Refuses images that a network cannot take.

    Args:
        data: what the images are called.
        model: the network.
        shape: height, width, channels.

    Raises:
        InputError: they are not square, or no multiple of what the network asks for.
    """
    if shape[0] != shape[1] or shape[0] % model.multiple:
        cure = f"give square images of a multiple of {model.multiple} pixels"
        raise InputError("data", f"images of shape {shape} in {data}", cure)


def population(config: KernelConfig) -> Int[np.ndarray, "num genes"]:
    """Returns the architectures that a configuration names or draws.

    Args:
        config: the configuration, checked.

    Returns:
        The encodings, in the order in which they are scored.
    """
    space = SPACES[config.space]
    if config.archs:
        return np.stack([space.read(arch) for arch in config.archs])
    return sample(space, jax.random.key(config.arch_seed), config.num_archs)
