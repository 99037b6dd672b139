"""Spectral metrics against chosen spectra and numpy's own eigenvalues."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.metrics import METRICS, LabelledGram, Status, evaluate
from jaxntk.metrics.spectrum import condition_number, log_condition_number
from tests.metrics.spectra import random_kernel, with_eigenvalues

CONDITION = METRICS["condition_number"]
RANK = METRICS["effective_rank"]
EPS32 = 2.0**-23
SPECTRA = st.lists(st.floats(0.01, 100.0), min_size=2, max_size=12)
SEEDS = st.integers(0, 1000)


def labels(n):
    return np.arange(n) % 2


def entropy_rank(eigenvalues):
    weights = np.asarray(eigenvalues) / np.sum(eigenvalues)
    return np.exp(-sum(p * np.log(p) for p in weights if p > 0))


@given(eigenvalues=SPECTRA, seed=SEEDS)
def test_condition_number_of_a_chosen_spectrum(eigenvalues, seed):
    score = CONDITION(with_eigenvalues(eigenvalues, seed), labels(len(eigenvalues)))
    np.testing.assert_allclose(score.value, max(eigenvalues) / min(eigenvalues), rtol=1e-9)


@given(eigenvalues=SPECTRA, seed=SEEDS)
def test_effective_rank_of_a_chosen_spectrum(eigenvalues, seed):
    score = RANK(with_eigenvalues(eigenvalues, seed), labels(len(eigenvalues)))
    np.testing.assert_allclose(score.value, entropy_rank(eigenvalues), rtol=1e-10)
    assert 1 - 1e-9 <= score.value <= len(eigenvalues) + 1e-9


@pytest.mark.parametrize("n", [2, 5, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_condition_number_is_that_of_numpy_on_the_same_kernel(n, seed):
    kernel = 1e6 * random_kernel(n, seed)
    eigenvalues = np.linalg.eigvalsh(kernel)
    value = CONDITION(kernel, labels(n)).value
    np.testing.assert_allclose(value, eigenvalues[-1] / eigenvalues[0], rtol=1e-13)


@pytest.mark.parametrize("rank", [1, 2, 3, 7])
def test_effective_rank_of_a_projection_is_its_rank(rank):
    kernel = with_eigenvalues([0.0] * (7 - rank) + [4.2] * rank)
    np.testing.assert_allclose(RANK(kernel, labels(7)).value, rank, rtol=1e-12)


def test_the_logarithm_ranks_alike_and_fails_alike():
    labels = np.arange(4) % 2
    for kernel in (random_kernel(4, 0), np.ones((4, 4))):
        gram = LabelledGram.of(kernel, labels)
        plain, log = condition_number(gram), log_condition_number(gram)
        assert log.status == plain.status
        if plain.valid:
            assert np.exp(log.value) == pytest.approx(plain.value)


@pytest.mark.parametrize("name", ["condition_number", "effective_rank"])
@given(seed=SEEDS, factor=st.floats(1e-6, 1e6))
def test_spectral_metrics_ignore_the_unit_of_the_kernel(name, seed, factor):
    kernel = random_kernel(6, seed)
    value = METRICS[name](kernel, labels(6)).value
    np.testing.assert_allclose(METRICS[name](factor * kernel, labels(6)).value, value, rtol=1e-9)


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(random_kernel(6, rank=3), id="rank 3 of 6"),
        pytest.param(np.ones((6, 6)), id="constant"),
        pytest.param(with_eigenvalues([0, 1, 2, 3, 4, 5]), id="one zero eigenvalue"),
        pytest.param(with_eigenvalues([-1, 1, 2, 3, 4, 5]), id="indefinite"),
        pytest.param(-np.eye(6), id="negative definite"),
        pytest.param(with_eigenvalues([1e-16, 1, 1, 1, 1, 1]), id="below float64 rounding"),
    ],
)
def test_condition_number_of_a_singular_kernel_is_no_number(kernel):
    assert CONDITION(kernel, labels(6)).status is Status.RANK_DEFICIENT


@pytest.mark.parametrize(
    ("ratio", "kernel_dtype", "status"),
    [
        (1.1 * 6 * EPS32, "float32", Status.OK),
        (0.9 * 6 * EPS32, "float32", Status.RANK_DEFICIENT),
        (0.9 * 6 * EPS32, "float64", Status.OK),
        (0.9 * 6 * EPS32, None, Status.OK),
        (1e-3, "bfloat16", Status.RANK_DEFICIENT),
    ],
)
def test_rank_is_judged_in_the_precision_of_the_kernel(ratio, kernel_dtype, status):
    kernel = np.diag([ratio, 1, 1, 1, 1, 1])
    assert CONDITION(kernel, labels(6), kernel_dtype=kernel_dtype).status is status


def test_effective_rank_counts_negative_eigenvalues_by_size():
    value = RANK(with_eigenvalues([-2.0, 1.0, 1.0]), labels(3)).value
    np.testing.assert_allclose(value, entropy_rank([2.0, 1.0, 1.0]), rtol=1e-12)


def test_a_failed_eigensolver_is_a_status(monkeypatch):
    def fail(_):
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    monkeypatch.setattr(np.linalg, "eigvalsh", fail)
    scores = evaluate(random_kernel(4), labels(4))
    failed = {name for name, score in scores.items() if score.status is Status.EIGENSOLVER_FAILED}
    assert failed == {"condition_number", "effective_rank"}
    assert all(scores[name].valid for name in METRICS if name not in failed)


def test_eigenvalues_are_found_once(monkeypatch):
    calls = []
    solve = np.linalg.eigvalsh
    monkeypatch.setattr(np.linalg, "eigvalsh", lambda a: calls.append(a) or solve(a))
    evaluate(random_kernel(4), labels(4))
    assert len(calls) == 1
