"""Comparisons of two kernels against their formulas entry by entry, and their laws."""

import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.metrics import dynamics
from jaxntk.validity import Status

N = 6
LABELS = np.array([0, 1, 2, 0, 1, 2])


def kernel(seed, rank=4):
    factor = np.random.default_rng(seed).normal(size=(N, rank))
    return factor @ factor.T


K, OTHER = kernel(0), kernel(1)
PAIRWISE = {
    "cosine": dynamics.cosine,
    "pearson": dynamics.pearson,
    "relative_change": dynamics.relative_change,
    "distance": dynamics.distance,
    "velocity": lambda before, after: dynamics.velocity(before, after, 2.0),
}
SCALE_FREE = [name for name in PAIRWISE if name != "relative_change"]


def by_hand(name):
    entries = [(K[i, j], OTHER[i, j]) for i in range(N) for j in range(N)]
    one, two = np.array(entries).T
    cosine = sum(one * two) / np.sqrt(sum(one**2) * sum(two**2))
    return {
        "cosine": cosine,
        "pearson": np.corrcoef(one, two)[0, 1],
        "relative_change": np.sqrt(sum((abs(a - b) / (abs(a) + 1e-4)) ** 2 for a, b in entries)),
        "distance": 1 - cosine,
        "velocity": (1 - cosine) / 2,
    }[name]


@pytest.mark.parametrize("name", PAIRWISE)
def test_formula(name):
    assert PAIRWISE[name](K, OTHER).value == pytest.approx(by_hand(name), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "still"),
    [("cosine", 1), ("pearson", 1), ("relative_change", 0), ("distance", 0), ("velocity", 0)],
)
def test_a_kernel_that_does_not_move(name, still):
    assert PAIRWISE[name](K, K).value == pytest.approx(still, abs=1e-12)


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("scale", [1e-200, 3.0, 1e200])
def test_scale_does_not_matter(name, scale):
    wanted = PAIRWISE[name](K, OTHER).value
    assert PAIRWISE[name](scale * K, OTHER).value == pytest.approx(wanted, rel=1e-9)


def test_pearson_does_not_see_what_is_added_to_all_entries():
    wanted = dynamics.pearson(K, OTHER).value
    assert dynamics.pearson(K + 7, OTHER).value == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", SCALE_FREE)
def test_kernels_without_a_direction_have_no_score(name):
    assert PAIRWISE[name](K, np.zeros((N, N))).status is Status.ZERO_KERNEL
    assert PAIRWISE[name](np.full((N, N), np.nan), K).status is Status.NONFINITE


def test_what_else_has_no_score():
    zero = np.zeros((N, N))
    assert dynamics.relative_change(zero, zero).status is Status.ZERO_KERNEL
    assert dynamics.relative_change(K, np.full((N, N), np.inf)).status is Status.NONFINITE
    assert dynamics.pearson(np.ones((N, N)), K).status is Status.CONSTANT
    assert dynamics.label_energy(K, np.zeros(N, int)).status is Status.CONSTANT
    assert dynamics.label_energy(zero, LABELS).status is Status.ZERO_KERNEL


def test_label_energy_is_the_mean_over_classes():
    total, size = 0.0, 0.0
    for label in range(3):
        y = np.where(label == LABELS, 1.0, -1.0)
        y = y - y.mean()
        total, size = total + y @ K @ y, size + y @ y
    wanted = total / (size * np.linalg.norm(K))
    assert dynamics.label_energy(K, LABELS).value == pytest.approx(wanted, rel=1e-12)


def test_two_classes_and_the_ideal_kernel():
    y = np.array([1.0, -1.0, 1.0, -1.0])
    assert dynamics.label_energy(np.outer(y, y), (y < 0).astype(int)).value == pytest.approx(1.0)


def test_all_eigenvectors_together_hold_the_labels():
    shares = dynamics.eigenvectors_on_labels(K, LABELS, N)
    assert shares.sum() == pytest.approx(1.0, rel=1e-12)
    assert (shares >= 0).all()


def test_the_top_eigenvector_of_an_ideal_kernel_is_the_labels():
    y = np.array([1.0, -1.0, 1.0, -1.0])
    shares = dynamics.eigenvectors_on_labels(np.outer(y, y) + 0.1 * np.eye(4), y.astype(int), 2)
    np.testing.assert_allclose(shares, [1, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: dynamics.cosine(K, K[:3, :3]), "kernels"),
        (lambda: dynamics.cosine(K[:2], K[:2]), "kernels"),
        (lambda: dynamics.velocity(K, OTHER, 0.0), "elapsed"),
        (lambda: dynamics.velocity(K, OTHER, float("nan")), "elapsed"),
        (lambda: dynamics.eigenvectors_on_labels(K, LABELS, 0), "top"),
        (lambda: dynamics.eigenvectors_on_labels(K, LABELS, N + 1), "top"),
        (lambda: dynamics.eigenvectors_on_labels(K * np.nan, LABELS, 2), "gram_NxN"),
        (lambda: dynamics.eigenvectors_on_labels(K, np.zeros(N, int), 2), "labels_N"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(InputError, match=named):
        call()
