"""The checks every kernel passes before a metric sees it."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.errors import InputError
from jaxntk.metrics import METRICS, LabelledGram, Status, evaluate

LABELS = np.array([0, 1, 1])
EYE = np.eye(3)


@pytest.mark.parametrize(
    ("gram", "labels", "message"),
    [
        (np.ones((3, 4)), LABELS, "gram_NxN: got shape (3, 4)"),
        (np.ones(3), LABELS, "gram_NxN: got shape (3,)"),
        (np.ones((1, 1)), LABELS[:1], "n at least 2"),
        (np.ones((0, 0)), LABELS[:0], "n at least 2"),
        (EYE, LABELS[:2], "labels_N: got shape (2,)"),
        (EYE, LABELS[:, None], "labels_N: got shape (3, 1)"),
        (EYE, LABELS.astype(np.float64), "labels_N: got dtype float64"),
        (np.triu(np.ones((3, 3))), LABELS, "a kernel is symmetric"),
        (np.array([[1e308, 1e308], [-1e308, 1e308]]), LABELS[:2], "a kernel is symmetric"),
        (EYE.astype(np.complex128), LABELS, "real kernels"),
    ],
)
def test_what_is_no_kernel_is_refused(gram, labels, message):
    with pytest.raises(InputError) as error:
        evaluate(gram, labels)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kernel_dtype", ["float99", np.complex64])
def test_kernel_dtype_must_be_real_floating_point(kernel_dtype):
    with pytest.raises(InputError, match="kernel_dtype"):
        evaluate(EYE, LABELS, kernel_dtype=kernel_dtype)


@pytest.mark.parametrize(
    ("gram_dtype", "kernel_dtype", "eps"),
    [
        (np.float64, None, 2.0**-52),
        (np.float32, None, 2.0**-23),
        (np.int64, None, 2.0**-52),
        (np.float64, "float32", 2.0**-23),
        (np.float64, jnp.float32, 2.0**-23),
        (np.float32, jnp.bfloat16, 2.0**-7),
    ],
)
def test_precision_is_that_of_the_kernel_or_the_one_named(gram_dtype, kernel_dtype, eps):
    gram = LabelledGram.of(EYE.astype(gram_dtype), LABELS, kernel_dtype=kernel_dtype)
    assert gram.eps == eps
    assert gram.unit_NxN.dtype == np.float64


def test_rounding_asymmetry_is_accepted():
    gram = np.array([[1.0, 0.5], [0.5 + 1e-3, 1.0]])
    assert evaluate(gram, LABELS[:2], ["mean"])["mean"].valid


def test_jax_arrays_are_accepted():
    gram = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 2.0], [0.0, 2.0, 5.0]], np.float32)
    from_jax = evaluate(jnp.asarray(gram), jnp.asarray(LABELS))
    assert from_jax == evaluate(gram, LABELS)


@given(
    entries=st.lists(st.integers(-1000, 1000), min_size=3, max_size=3).filter(any),
    exponent=st.integers(-1060, 1010),
)
def test_unit_times_scale_is_the_kernel_exactly(entries, exponent):
    a, b, c = np.ldexp(entries, exponent)
    kernel = np.array([[a, b], [b, c]])
    gram = LabelledGram.of(kernel, LABELS[:2])
    np.testing.assert_array_equal(gram.unit_NxN * gram.scale, kernel)
    assert 1 <= np.max(np.abs(gram.unit_NxN)) < 2
    assert np.frexp(gram.scale)[0] == 0.5


BAD_KERNELS = [
    (np.zeros((3, 3)), Status.ZERO_KERNEL),
    (np.zeros((3, 3), np.float32), Status.ZERO_KERNEL),
    (np.full((3, 3), np.nan), Status.NONFINITE),
    (np.where(EYE == 1, np.inf, 0.0), Status.NONFINITE),
    (np.array([[1.0, np.nan, 0.0], [np.nan, 1.0, 0.0], [0.0, 0.0, 1.0]]), Status.NONFINITE),
    (np.array([[-np.inf, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), Status.NONFINITE),
]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(("kernel", "status"), BAD_KERNELS)
def test_a_bad_kernel_is_invalid_under_every_metric(name, kernel, status):
    assert evaluate(kernel, LABELS)[name].status is status
    assert METRICS[name](kernel, LABELS).status is status
