"""Alignment with labels: kernels worked by hand, and the laws the definitions imply."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.metrics import METRICS, Status, evaluate
from tests.metrics.spectra import label_matrix, random_kernel

NAMES = ["lga", "lga_off_diagonal", "lga_centred"]
SEEDS = st.integers(0, 1000)
LABELS = np.array([0, 0, 1, 1, 2, 0])
CENTRING = np.eye(6) - 1 / 6


def corrcoef(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@given(seed=SEEDS)
def test_lga_is_the_correlation_of_all_entries(seed):
    kernel = random_kernel(6, seed)
    value = METRICS["lga"](kernel, LABELS).value
    expected = corrcoef(kernel, label_matrix(LABELS))
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-14)


@given(seed=SEEDS)
def test_off_diagonal_lga_is_the_correlation_of_pairs(seed):
    kernel = random_kernel(6, seed)
    pairs = np.triu_indices(6, k=1)
    value = METRICS["lga_off_diagonal"](kernel, LABELS).value
    expected = corrcoef(kernel[pairs], label_matrix(LABELS)[pairs])
    np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-14)


@given(seed=SEEDS)
def test_centred_alignment_is_the_cosine_of_centred_matrices(seed):
    kernel = random_kernel(6, seed)
    centred_kernel = CENTRING @ kernel @ CENTRING
    centred_labels = CENTRING @ label_matrix(LABELS) @ CENTRING
    expected = np.trace(centred_kernel @ centred_labels)
    expected /= np.linalg.norm(centred_kernel) * np.linalg.norm(centred_labels)
    value = METRICS["lga_centred"](kernel, LABELS).value
    np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("kernel", "labels", "lga"),
    [
        ([[2.0, 1.0], [1.0, 2.0]], [0, 1], 1.0),
        ([[1.0, 2.0], [2.0, 1.0]], [0, 1], -1.0),
        # K = diag(1, 0, 0), L = [[1, 1, -1], [1, 1, -1], [-1, -1, 1]]: means 1/9 and 1/9,
        # covariance 1 - 1/9 = 8/9, squares 1 - 1/9 = 8/9 and 9 - 1/9 = 80/9.
        (np.diag([1.0, 0.0, 0.0]), [0, 0, 1], (8 / 9) / np.sqrt((8 / 9) * (80 / 9))),
    ],
)
def test_lga_by_hand(kernel, labels, lga):
    value = METRICS["lga"](np.array(kernel), np.array(labels)).value
    np.testing.assert_allclose(value, lga, rtol=1e-14)


def test_off_diagonal_lga_by_hand():
    # Pairs (0,1): K=3, same; (0,2): K=1, (1,2): K=2, different. Correlation of (3,1,2) with
    # (1,-1,-1): covariance 1 + 2/3 + 0 - ... = 2, squares 2 and 8/3.
    kernel = np.array([[9.0, 3.0, 1.0], [3.0, 9.0, 2.0], [1.0, 2.0, 9.0]])
    value = METRICS["lga_off_diagonal"](kernel, np.array([4, 4, 7])).value
    np.testing.assert_allclose(value, 2 / np.sqrt(2 * 8 / 3), rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("sign", "expected"), [(1.0, 1.0), (-1.0, -1.0)])
def test_a_kernel_that_is_the_label_matrix(name, sign, expected):
    value = METRICS[name](sign * label_matrix(LABELS), LABELS).value
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    assert abs(value) <= 1


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, a=st.floats(1e-3, 1e3), b=st.floats(-1e3, 1e3))
def test_neither_unit_nor_offset_of_the_kernel_matters(name, seed, a, b):
    kernel = random_kernel(6, seed)
    value = METRICS[name](kernel, LABELS).value
    changed = METRICS[name](a * kernel + b, LABELS).value
    np.testing.assert_allclose(changed, value, atol=1e-14 * max(1, abs(b) / a))


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, exponent=st.integers(-900, 900))
def test_no_unit_is_too_large_or_too_small(name, seed, exponent):
    kernel = random_kernel(6, seed)
    scaled = METRICS[name](np.ldexp(kernel, exponent), LABELS)
    assert scaled == METRICS[name](kernel, LABELS)


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS)
def test_negating_the_kernel_negates_the_alignment(name, seed):
    kernel = random_kernel(6, seed)
    value = METRICS[name](kernel, LABELS).value
    np.testing.assert_allclose(METRICS[name](-kernel, LABELS).value, -value, rtol=1e-13)


@given(seed=SEEDS, labels=st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_lga_with_labels_one_and_zero_is_the_same_number(seed, labels):
    kernel = random_kernel(6, seed)
    score = METRICS["lga"](kernel, np.array(labels))
    if len(set(labels)) == 1:
        assert score.status is Status.CONSTANT
    else:
        expected = corrcoef(kernel, label_matrix(labels, same=1.0, different=0.0))
        np.testing.assert_allclose(score.value, expected, rtol=1e-11, atol=1e-14)


@given(seed=SEEDS)
def test_alignments_do_not_depend_on_names_of_classes(seed):
    kernel = random_kernel(6, seed)
    renamed = np.array([7, -3, 100])[LABELS]
    assert evaluate(kernel, renamed, NAMES) == evaluate(kernel, LABELS, NAMES)


@pytest.mark.parametrize("kernel_dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [1.0, 0.1, -3.3, 1e-30, 1e30])
def test_a_constant_kernel_says_nothing_of_labels(name, value, kernel_dtype):
    kernel = np.full((6, 6), value).astype(kernel_dtype)
    noise = np.finfo(kernel_dtype).eps * np.random.default_rng(0).normal(size=(6, 6))
    for constant in (kernel, kernel * (1 + noise + noise.T)):
        assert METRICS[name](constant, LABELS, kernel_dtype=kernel_dtype).status is Status.CONSTANT


def test_rows_and_columns_of_offsets_leave_nothing_to_centre():
    offsets = np.random.default_rng(0).normal(size=6)
    kernel = offsets[:, None] + offsets[None, :]
    assert METRICS["lga_centred"](kernel, LABELS).status is Status.CONSTANT
    assert METRICS["lga"](kernel, LABELS).valid


@pytest.mark.parametrize("name", NAMES)
def test_a_single_class_gives_no_alignment(name):
    score = METRICS[name](random_kernel(6), np.full(6, 3))
    assert score.status is Status.CONSTANT


def test_all_classes_different_leave_only_the_diagonal():
    scores = evaluate(random_kernel(6), np.arange(6), NAMES)
    assert scores["lga_off_diagonal"].status is Status.CONSTANT
    assert 0 < scores["lga"].value < 1
    assert 0 < scores["lga_centred"].value < 1
    on_identity = evaluate(np.eye(6), np.arange(6), NAMES)
    np.testing.assert_allclose(on_identity["lga"].value, 1.0)
    np.testing.assert_allclose(on_identity["lga_centred"].value, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_larger_is_better(name):
    assert METRICS[name].higher_is_better
