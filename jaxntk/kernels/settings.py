"""Which kernel of a network is computed, and how."""

from dataclasses import dataclass
from typing import Literal

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.outputs import Outputs, check_outputs
from jaxntk.kernels.parameters import ParameterChoice
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.model import Model
from jaxntk.networks.precision import at_precision, check_x64

Precision = Literal["float32", "mixed", "float64"]
ACTIVATIONS: dict[Precision, str] = {"float32": "float32", "mixed": "float64", "float64": "float64"}
PARAMETERS: dict[Precision, str] = {"float32": "float32", "mixed": "float32", "float64": "float64"}


@dataclass(frozen=True, kw_only=True)
class KernelSettings:
    """Which kernel of a network is computed, and how.

    Args:
        batch_norm: ``batch``, ``frozen`` or ``running``; see
            :class:`~jaxntk.networks.batch_norm.BatchNormMode`. It has to be said of networks with
            batch normalisation; of others there is ``none``.
        outputs: ``sum`` of logits, ``trace`` over outputs, or ``class_balanced``.
        parameters: which parameters enter: ``lga``, ``all`` or a rule on their path.
        dtype: ``float32``, ``float64``, or ``mixed``: activations in float64, derivatives and
            kernel in float32.
        tile: images (rows of the kernel) computed at a time; None for all at once.
        matmul_precision: of products and convolutions in the forward and the backward pass:
            ``highest``, or a lower one that JAX knows.
    """

    batch_norm: Literal["batch", "frozen", "running", "none"] = "none"
    outputs: Outputs = "sum"
    parameters: ParameterChoice = "lga"
    dtype: Precision = "float32"
    tile: int | None = None
    matmul_precision: str = "highest"

    @property
    def mode(self) -> BatchNormMode:
        """Batch normalisation as networks have it."""
        return BatchNormMode(self.batch_norm)


def check_settings(model: Model, settings: KernelSettings, x_shape: tuple[int, ...]) -> None:
    """Checks a kernel's settings and the shape of the images it is to be computed on.

    Args:
        model: the network.
        settings: the settings.
        x_shape: of the images, ``(n, height, width, channels)``; with one axis more in front where
            the kernel is the mean of those of several parts.

    Raises:
        InputError: the first thing that is wrong.
    """
    check_choice("batch_norm", settings.batch_norm, tuple(map(str, model.modes)))
    check_choice("dtype", settings.dtype, tuple(ACTIVATIONS))
    if check_outputs(settings.outputs) == "full":
        raise InputError("outputs", "full", "choose trace, sum or class_balanced")
    if settings.tile is not None and settings.tile < 1:
        raise InputError("tile", settings.tile, "give at least 1, or None")
    at_precision(settings.matmul_precision)
    check_x64(settings.dtype)
    many = model.multiple
    if len(x_shape) not in (4, 5) or any(not side or side % many for side in x_shape[-3:-1]):
        cure = f"give (n, height, width, channels), both sides multiples of {many} pixels"
        raise InputError("x", f"shape {x_shape}", cure)
