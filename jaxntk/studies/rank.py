"""Scores cells, finds their accuracies, and holds every ranking against the truth.

The job behind ``jaxntk run``. Every row is on disk before the next is begun, so a run that was
killed goes on where it was; all random choices come from seeds in the configuration, so it ends
with the same numbers.
"""

import io
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console

from jaxntk.data.batches import Batch, Standardization, make_batch, standardize
from jaxntk.data.images import ImageDataset, load_images
from jaxntk.errors import InputError
from jaxntk.metrics import evaluate
from jaxntk.networks.nasbench201 import BatchNormMode, NasBench201
from jaxntk.results.report import write_report
from jaxntk.results.rows import append_row, write_bytes_atomic, write_json_atomic
from jaxntk.results.terminal import summary_table
from jaxntk.results.text import size
from jaxntk.spaces import nasbench201
from jaxntk.studies import run_folder
from jaxntk.studies.config import TRAIN, ExperimentConfig, validate
from jaxntk.studies.progress import track
from jaxntk.studies.scoring import CompiledKernel, KernelSettings, compile_kernel
from jaxntk.studies.summarize import correlations, describe_truth
from jaxntk.studies.truth import append_truth, table_accuracy, trained_accuracy, truth_source


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

    config: ExperimentConfig
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

    @cached_property
    def kernel(self) -> CompiledKernel:
        """The kernel of any cell, compiled at first use."""
        settings = KernelSettings(
            batch_norm=self.config.batch_norm,
            outputs=self.config.outputs,
            parameters=self.config.parameters,
            dtype=self.config.dtype,
            tile=self.config.tile,
        )
        return compile_kernel(self.network, settings, self.batch.x)

    @property
    def compiled(self) -> CompiledKernel | None:
        """The kernel if it has been compiled, else None."""
        return self.__dict__.get("kernel")


def prepare(config: ExperimentConfig) -> Job:
    """Checks a configuration and loads what it names; writes nothing.

    Args:
        config: the configuration.

    Returns:
        The job.

    Raises:
        InputError: anything wrong with the configuration or the data.
    """
    validate(config)
    if config.archs:
        archs = np.stack([nasbench201.parse(arch) for arch in config.archs])
    else:
        archs = nasbench201.sample(jax.random.key(config.arch_seed), config.num_archs)
    dataset, numbers = standardize(load_images(config.data, data_dir=config.data_dir))
    batch = make_batch(
        dataset, config.num_images, split=config.split, how=config.batch, seed=config.batch_seed
    )
    return Job(config, np.asarray(archs), dataset, numbers, batch)
