"""What batch normalisation does while a network is applied: it belongs to the call."""

from enum import StrEnum

from jaxntk.networks.layers import Normalizer


class BatchNormMode(StrEnum):
    """What batch normalisation does while a kernel is taken; it changes the kernel and its ranking.

    * ``BATCH``: batch statistics, differentiated through. Examples interact; the kernel is exact
      and dear (the official LGA code in training mode).
    * ``FROZEN``: batch statistics, held constant. Examples do not interact.
    * ``RUNNING``: running statistics where the network keeps them, and batch statistics,
      differentiated through, inside cells, which keep none (the official LGA code in evaluation
      mode). Examples interact.
    * ``STORED``: every layer uses the statistics in ``batch_stats``. Examples do not interact.
    * ``NONE``: the network has no batch normalisation.
    """

    BATCH = "batch"
    FROZEN = "frozen"
    RUNNING = "running"
    STORED = "stored"
    NONE = "none"

    @property
    def tracked(self) -> Normalizer:
        """What the layers with running statistics use."""
        return _NORMALIZERS[self][0]

    @property
    def cells(self) -> Normalizer:
        """What the layers inside cells use."""
        return _NORMALIZERS[self][1]

    @property
    def coupled(self) -> bool:
        """Whether the examples of a batch interact, so that only the coupled kernel is exact."""
        return Normalizer.BATCH in _NORMALIZERS[self]


_NORMALIZERS = {
    BatchNormMode.BATCH: (Normalizer.BATCH, Normalizer.BATCH),
    BatchNormMode.FROZEN: (Normalizer.FROZEN, Normalizer.FROZEN),
    BatchNormMode.RUNNING: (Normalizer.STORED, Normalizer.BATCH),
    BatchNormMode.STORED: (Normalizer.STORED, Normalizer.STORED),
    BatchNormMode.NONE: (Normalizer.STORED, Normalizer.STORED),
}

KERNEL_MODES = (BatchNormMode.BATCH, BatchNormMode.FROZEN, BatchNormMode.RUNNING)
"""Modes in which a kernel can be taken of a network with batch normalisation."""
