"""Mean, Frobenius norm and trace against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.metrics import METRICS, Status, evaluate
from tests.metrics.spectra import random_kernel, with_eigenvalues

NAMES = ["mean", "frobenius", "trace"]
SPECTRA = st.lists(st.just(0.0) | st.floats(0.01, 100.0), min_size=2, max_size=12).filter(any)
SEEDS = st.integers(0, 1000)


def labels(n):
    return np.arange(n) % 2


@given(eigenvalues=SPECTRA, seed=SEEDS)
def test_trace_and_frobenius_norm_of_a_chosen_spectrum(eigenvalues, seed):
    kernel = with_eigenvalues(eigenvalues, seed)
    scores = evaluate(kernel, labels(len(eigenvalues)), ["trace", "frobenius"])
    np.testing.assert_allclose(scores["trace"].value, np.sum(eigenvalues), rtol=1e-10)
    norm = np.sqrt(np.sum(np.square(eigenvalues)))
    np.testing.assert_allclose(scores["frobenius"].value, norm, rtol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "mean", "frobenius", "trace"),
    [
        ([[1.0, 2.0], [2.0, 4.0]], 9 / 4, 5.0, 5.0),
        ([[3.0, -4.0], [-4.0, 3.0]], -0.5, np.sqrt(50), 6.0),
        ([[0.0, 1.0], [1.0, 0.0]], 0.5, np.sqrt(2), 0.0),
    ],
)
def test_by_hand(kernel, mean, frobenius, trace):
    scores = evaluate(np.array(kernel), labels(2), NAMES)
    values = [scores[name].value for name in NAMES]
    np.testing.assert_allclose(values, [mean, frobenius, trace], rtol=1e-14)


@given(seed=SEEDS, n=st.integers(2, 10))
def test_mean_is_the_quadratic_form_of_ones(seed, n):
    kernel = random_kernel(n, seed)
    ones = np.ones(n) / n
    np.testing.assert_allclose(METRICS["mean"](kernel, labels(n)).value, ones @ kernel @ ones)


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, exponent=st.integers(-300, 300))
def test_magnitudes_scale_with_the_kernel_without_overflow(name, seed, exponent):
    kernel = random_kernel(5, seed)
    value = METRICS[name](kernel, labels(5)).value
    scaled = METRICS[name](np.ldexp(kernel, 3 * exponent), labels(5)).value
    assert scaled == np.ldexp(value, 3 * exponent)


def test_a_value_beyond_floating_point_is_a_status():
    kernel = np.full((2, 2), 1.7e308)
    scores = evaluate(kernel, labels(2), NAMES)
    assert scores["mean"].valid
    assert scores["frobenius"].status is Status.NONFINITE
    assert scores["trace"].status is Status.NONFINITE


@pytest.mark.parametrize("name", NAMES)
def test_larger_is_better(name):
    assert METRICS[name].higher_is_better
