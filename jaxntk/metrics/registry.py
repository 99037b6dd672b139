"""The table of metrics, and the one function that evaluates them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import numpy as np
from jax.typing import DTypeLike

from jaxntk.errors import check_choice
from jaxntk.metrics import alignment, magnitude, spectrum
from jaxntk.metrics.gram import LabelledGram
from jaxntk.metrics.score import Score


@dataclass(frozen=True)
class Metric:
    """A number read off a kernel matrix, with its direction.

    Args:
        name: key in :data:`METRICS`, in result rows and in summaries.
        higher_is_better: the direction in which an architecture is expected to be better.
        formula: the definition in one line of plain text.
        source: where the metric was published.
        fn: the computation. It may assume a kernel that is finite and not zero.

    Example:
        >>> METRICS["trace"](np.eye(3), np.array([0, 1, 1])).value
        3.0
    """

    name: str
    higher_is_better: bool
    formula: str
    source: str
    fn: Callable[[LabelledGram], Score]

    def __call__(
        self,
        gram_NxN: np.ndarray | jax.Array,
        labels_N: np.ndarray | jax.Array,
        *,
        kernel_dtype: DTypeLike | None = None,
    ) -> Score:
        """Evaluates this metric alone, with the arguments and checks of :func:`evaluate`."""
        return self.score(LabelledGram.of(gram_NxN, labels_N, kernel_dtype=kernel_dtype))

    def score(self, gram: LabelledGram) -> Score:
        """Returns the metric of a kernel, invalid where the kernel itself is."""
        return self.fn(gram) if gram.fault is None else Score.invalid(gram.fault)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "lga",
            True,
            "Pearson(K_ij, L_ij) over all i, j; L_ij = +1 if y_i = y_j else -1",
            "Mok et al., CVPR 2022, arXiv 2203.14577",
            alignment.lga,
        ),
        Metric(
            "lga_off_diagonal",
            True,
            "Pearson(K_ij, L_ij) over i != j; L_ij = +1 if y_i = y_j else -1",
            "variant of Mok et al., CVPR 2022, arXiv 2203.14577",
            alignment.lga_off_diagonal,
        ),
        Metric(
            "lga_centred",
            True,
            "<HKH, HLH> / (||HKH|| ||HLH||), H = I - 11^T/n",
            "Cortes et al., JMLR 13 (2012); Kornblith et al., ICML 2019, arXiv 1905.00414",
            alignment.lga_centred,
        ),
        Metric(
            "mean",
            True,
            "sum_ij K_ij / n^2",
            "Xu et al., KNAS, ICML 2021",
            magnitude.mean,
        ),
        Metric(
            "frobenius",
            True,
            "sqrt(sum_ij K_ij^2)",
            "compared in Mok et al., CVPR 2022, arXiv 2203.14577",
            magnitude.frobenius,
        ),
        Metric(
            "condition_number",
            False,
            "lambda_max / lambda_min",
            "Chen et al., TE-NAS, ICLR 2021, arXiv 2102.11535",
            spectrum.condition_number,
        ),
        Metric(
            "trace",
            True,
            "sum_i K_ii",
            "Shu et al., NASI, ICLR 2022, arXiv 2109.00817",
            magnitude.trace,
        ),
        Metric(
            "effective_rank",
            True,
            "exp(-sum_i p_i log p_i), p_i = lambda_i / sum_j lambda_j",
            "Roy and Vetterli, EUSIPCO 2007",
            spectrum.effective_rank,
        ),
    )
}
"""Every metric by name, in the order in which tables show them."""


def evaluate(
    gram_NxN: np.ndarray | jax.Array,
    labels_N: np.ndarray | jax.Array,
    names: Iterable[str] | None = None,
    *,
    kernel_dtype: DTypeLike | None = None,
) -> dict[str, Score]:
    """Evaluates metrics of one kernel, in float64 on the host, eigenvalues found once.

    Args:
        gram_NxN: symmetric kernel matrix, shape (n, n), n at least 2. NaN and infinity are allowed
            and make every score :attr:`~jaxntk.metrics.Status.NONFINITE`; the zero matrix makes
            every score :attr:`~jaxntk.metrics.Status.ZERO_KERNEL`.
        labels_N: integer classes of the n examples, shape (n,).
        names: which metrics; by default all of :data:`METRICS`.
        kernel_dtype: floating-point type in which the kernel was computed, by default the type of
            ``gram_NxN``; it says which eigenvalues cannot be told from rounding.

    Returns:
        Scores by name, in the order of ``names``.

    Raises:
        InputError: an unknown name, a matrix that is not square or far from symmetric, labels that
            do not fit it.

    Example:
        >>> scores = evaluate(np.diag([1.0, 4.0]), np.array([0, 1]), ["condition_number", "trace"])
        >>> [round(score.value, 12) for score in scores.values()]
        [4.0, 5.0]
    """
    chosen = [_metric(name) for name in (METRICS if names is None else names)]
    gram = LabelledGram.of(gram_NxN, labels_N, kernel_dtype=kernel_dtype)
    return {metric.name: metric.score(gram) for metric in chosen}


def _metric(name: str) -> Metric:
    check_choice("metric", name, METRICS)
    return METRICS[name]
