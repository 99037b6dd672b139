r"""How visible each spatial frequency of an image is to a kernel, from its entries for plane waves.

This is no spectral bias. There frequency belongs to the function that is learned, to how fast it
varies from input to input (Rahaman et al. 2019, Basri et al. 2019); here it belongs to the image.

Let :math:`K` be a kernel of plane waves and let :math:`H_k` take from a function of the waves its
values on waves of frequency k, less their mean over the phases of each wave. What is left is what
depends on where the crests lie: a kernel to which a frequency is invisible gives none of it. Then

.. math:: P(k) = \frac{\mathrm{tr}(H_k K H_k)}{n_k}, \qquad
    V(k) = \frac{\mathrm{tr}(H_k K H_k)}{\mathrm{tr}(K_k)}

are the power that the kernel gives to a frequency and the part of it that moves with the wave. With
eigenvectors :math:`v_j` and eigenvalues :math:`\lambda_j`, :math:`n_k P(k) = \sum_j \lambda_j
\|H_k v_j\|^2`: the energy of the eigenvectors at that frequency, each weighted by how fast it is
learned. A linear model of the pixels has the same power at every frequency, and V = 1.

Gradient flow on squared errors with a fixed kernel leaves of a target y the residual
:math:`e^{-K t} y` (Jacot et al. 2018), which tells how soon it is learned where the crests of each
frequency lie.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxntk.errors import InputError


class FrequencyResponse(NamedTuple):
    """How visible each frequency of an image is to a kernel.

    Args:
        frequencies: cycles an image.
        power: P of each.
        visibility: V of each, between 0 and 1; NaN where the kernel of these waves is 0.
        top_energy: part of the energy of the kernel's leading eigenvectors, those of `TOP` of its
            trace, that lies at each; with what lies at none of them the sum is 1.
    """

    frequencies: Int[np.ndarray, " k"]
    power: Float[np.ndarray, " k"]
    visibility: Float[np.ndarray, " k"]
    top_energy: Float[np.ndarray, " k"]

    @property
    def high_over_low(self) -> float:
        """Mean power of the upper half of the frequencies over that of the lower half.

        1 for a linear model of the pixels, near 0 where high frequencies are invisible.
        """
        half = len(self.frequencies) // 2
        return float(self.power[-half:].mean() / self.power[:half].mean())


TOP = 0.9
"""Part of the trace that leading eigenvectors make up."""


def frequency_response(
    gram_NxN: Float[np.ndarray, "rows columns"],
    frequency: Int[np.ndarray, " n"],
    wave: Int[np.ndarray, " n"],
) -> FrequencyResponse:
    """Reads off a kernel of plane waves how visible each frequency is to it.

    Args:
        gram_NxN: the kernel.
        frequency: of each wave.
        wave: which waves of a frequency differ in their phase only.

    Returns:
        The response, frequencies rising.

    Raises:
        InputError: a kernel of another size, fewer than two frequencies, or one that is not finite.

    Source:
        The definitions are this project's own. They are not the spectral bias of Rahaman et al.,
        ICML 2019, arXiv 1806.08734, which is about the frequency of the function.

    Example:
        >>> from jaxntk.data.plane_waves import plane_waves
        >>> waves = plane_waves(8, (1, 2, 3), orientations=2, phases=4)
        >>> rows = waves.x.reshape(24, -1)
        >>> response = frequency_response(rows @ rows.T / 192, waves.frequency, waves.wave)
        >>> print(response.power.round(5), response.visibility.round(5))
        [1. 1. 1.] [1. 1. 1.]
    """
    kernel = np.asarray(gram_NxN, np.float64)
    _check(kernel, len(frequency))
    found = np.unique(frequency)
    if len(found) < 2:
        raise InputError("frequency", f"{len(found)}", "give waves of at least two frequencies")
    values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    leading = np.searchsorted(np.cumsum(values), TOP * values.sum()) + 1
    power, visibility, energy = [], [], []
    for each in found:
        part = _part(frequency == each, wave)
        moving = float(np.sum((part @ kernel) * part))
        whole = float(np.trace(kernel[np.ix_(frequency == each, frequency == each)]))
        power.append(moving / int((frequency == each).sum()))
        visibility.append(moving / whole if whole > 0 else np.nan)
        energy.append(float(np.sum((part @ vectors[:, :leading]) ** 2)) / leading)
    return FrequencyResponse(found, np.array(power), np.array(visibility), np.array(energy))


def learned_parts(
    gram_NxN: Float[np.ndarray, "rows columns"],
    targets_NxK: Float[np.ndarray, "n k"],
    times: Float[np.ndarray, " t"],
) -> Float[np.ndarray, "t k"]:
    r"""Says how much of each target gradient flow with a fixed kernel has learned.

    .. math:: 1 - \frac{\| e^{-K t} y \|^2}{\| y \|^2}

    Args:
        gram_NxN: the kernel.
        targets_NxK: targets, a column each, none of them zero.
        times: in units of the inverse of the kernel's mean eigenvalue, so that kernels of any scale
            compare: t = 1 is a step of 1 / mean(lambda).

    Returns:
        Between 0 and 1.

    Raises:
        InputError: a kernel that is not square and finite, or is 0.

    Source:
        Jacot, Gabriel, Hongler, "Neural tangent kernel", NeurIPS 2018, arXiv 1806.07572, section 5.

    Example:
        >>> kernel, targets = np.diag([1.5, 0.5]), np.eye(2)
        >>> print(learned_parts(kernel, targets, np.array([1.0])).round(3))
        [[0.95  0.632]]
    """
    kernel = np.asarray(gram_NxN, np.float64)
    _check(kernel, len(targets_NxK))
    values, vectors = np.linalg.eigh((kernel + kernel.T) / 2)
    values = np.maximum(values, 0)
    if values.sum() == 0:
        raise InputError("gram", "the zero matrix", "give a kernel that learns something")
    energies = (vectors.T @ targets_NxK) ** 2
    left = np.exp(-2 * np.outer(times, values / values.mean())) @ energies
    return 1 - left / energies.sum(axis=0)


def phase_targets(
    frequency: Int[np.ndarray, " n"], phase: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n k"]:
    """Makes a target for each frequency: where the crests of its waves lie.

    Args:
        frequency: of each wave.
        phase: of each, in parts of a cycle.

    Returns:
        A column each, frequencies rising: the cosine of the phase, 0 on waves of another frequency,
        of norm 1.
    """
    found = np.unique(frequency)
    columns = np.where(frequency[:, None] == found, np.cos(2 * np.pi * phase)[:, None], 0.0)
    return columns / np.linalg.norm(columns, axis=0)


def _part(chosen: np.ndarray, wave: np.ndarray) -> Float[np.ndarray, "n n"]:
    """The projection on functions of the chosen waves whose mean over phases is 0."""
    same = chosen[:, None] & chosen & (wave[:, None] == wave)
    return np.diag(chosen.astype(float)) - same / np.maximum(same.sum(axis=1, keepdims=True), 1)


def _check(kernel: np.ndarray, num: int) -> None:
    if kernel.shape != (num, num) or not np.isfinite(kernel).all():
        got = f"shape {kernel.shape}, or entries that are not finite"
        raise InputError("gram", got, f"give a finite kernel of {num} examples")
