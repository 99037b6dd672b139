"""Every score of an architecture by one name: ``NAME[@KERNEL][@EPOCHS]``.

=================================  ================================================================
``lga_centred@3``                  a metric of the NTK after three epochs of training
``lga_centred``                    the same before any training
``lga@patch_content:sigma=1/sum``  a metric of a ViNTK (:class:`jaxntk.kernels.fourier.ViNTK`)
``loss@3``, ``valid_accuracy@3``   what training gives without a kernel
``params``, ``flops``, ...         counts of the space
``table:digits201/valid``          an accuracy that a table holds (:mod:`jaxntk.data.truths`)
=================================  ================================================================
"""

from typing import NamedTuple

from jaxntk.data.truths import check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.fourier import NTK, named_kernel
from jaxntk.metrics import METRICS
from jaxntk.spaces.space import Space

TABLE = "table:"
"""How readings begin that a table knows."""
OF_TRAINING: dict[str, bool] = {
    "loss": False,
    "loss_sum": False,
    "train_accuracy": True,
    "valid_accuracy": True,
}
"""What t epochs of training give without a kernel, and whether higher is better: the training loss
of the last epoch, the sum of the losses of all epochs (TSE: Ru et al., NeurIPS 2021, arXiv
2006.04492), and accuracies after the last epoch."""


class Reading(NamedTuple):
    """One score.

    Args:
        name: a metric, what training gives, a count, or ``table:`` and a truth.
        kernel: that a metric is read off; None for what is no metric.
        epochs: of training before it is read; None for counts and tables.
    """

    name: str
    kernel: str | None = None
    epochs: int | None = None

    @property
    def higher_is_better(self) -> bool:
        """The direction of the score; of counts, more is taken to be better."""
        if self.name in METRICS:
            return METRICS[self.name].higher_is_better
        return OF_TRAINING.get(self.name, True)


def parse_reading(text: str, space: Space, argument: str = "goals") -> Reading:
    """Reads the name of a score.

    Args:
        text: as the module says.
        space: of the architectures, which says what is counted.
        argument: that is read, for errors.

    Returns:
        The reading, its kernel with all its settings.

    Raises:
        InputError: no score of architectures of this space.

    Example:
        >>> from jaxntk.spaces.registry import SPACES
        >>> parse_reading("lga@3", SPACES["nasbench201"])
        Reading(name='lga', kernel='ntk', epochs=3)
    """
    if text.startswith(TABLE):
        check_truth(argument, text.removeprefix(TABLE), space)
        return Reading(text)
    name, *rest = text.split("@")
    check_choice(argument, name, (*METRICS, *OF_TRAINING, *space.baselines))
    if name in space.baselines:
        if rest:
            raise InputError(argument, text, f"write {name}: it is counted")
        return Reading(name)
    epochs = int(rest.pop()) if rest and rest[-1].isdecimal() else None
    if name in OF_TRAINING:
        if rest or epochs is None:
            cure = f"say after how many epochs, as in {name}@3"
            raise InputError(argument, text, cure)
        if not epochs and name != "valid_accuracy":
            raise InputError(argument, text, "give at least one epoch: there is none before")
        return Reading(name, None, epochs)
    if len(rest) > 1:
        raise InputError(argument, text, "write METRIC, METRIC@KERNEL, METRIC@EPOCHS or both")
    kernel = _kernel(rest[0], text, argument) if rest else NTK
    if kernel != NTK and epochs:
        cure = f"write {name}@{kernel}: trained weights are of images, not of their features"
        raise InputError(argument, text, cure)
    return Reading(name, kernel, epochs or 0)


def _kernel(kernel: str, text: str, argument: str) -> str:
    """Completes the settings of a kernel."""
    if kernel != NTK and "/" not in kernel:
        cure = "name a kernel, ntk or a ViNTK such as patch_content:sigma=1/sum, or a number of"
        raise InputError(argument, text, f"{cure} epochs")
    try:
        how = named_kernel(kernel)
    except InputError as error:
        raise InputError(argument, f"{text} ({error.argument}: {error.got})", error.cure) from error
    if how is not None and how.combine == "product" and any(w % 1 for w in how.weights):
        raise InputError(argument, text, "give whole powers: kernels may have negative entries")
    return NTK if how is None else str(how)
