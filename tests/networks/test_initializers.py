"""The distributions that the names of initialisations stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxntk.errors import InputError
from jaxntk.networks.initializers import INITIALIZATIONS, initialization

SHAPES = [(3, 3, 16, 64), (1, 1, 64, 96), (64, 100)]


def _fan_in(shape):
    return int(np.prod(shape[:-1]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "gain", "distribution"),
    [("pytorch", 1 / 3, "uniform"), ("he_normal", 2.0, "norm"), ("lecun_normal", 1.0, "norm")],
)
def test_kernels_have_the_variance_and_the_distribution(name, gain, distribution, shape):
    kernel = initialization(name).kernel(jax.random.key(1), shape, jnp.float32)
    values = np.asarray(kernel, np.float64).ravel()
    variance = gain / _fan_in(shape)
    assert kernel.dtype == jnp.float32
    # Four standard errors of the sample variance of a normal (a uniform's are smaller).
    assert values.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / values.size))
    assert abs(values.mean()) < 4 * np.sqrt(variance / values.size)
    if distribution == "uniform":
        limit = 1 / np.sqrt(_fan_in(shape))
        assert np.abs(values).max() <= limit * (1 + 1e-6)
        law = stats.uniform(-limit, 2 * limit)
    else:
        law = stats.norm(0, np.sqrt(variance))
        assert np.abs(values).max() > 3 * np.sqrt(variance), "not truncated at 2"
    assert stats.kstest(values, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("fan_in", [9, 27, 144])
def test_pytorch_biases_are_uniform_within_the_root_of_the_fan_in(fan_in):
    bias = initialization("pytorch").bias(fan_in)(
        jax.random.key(0), (20_000,), jnp.dtype("float32")
    )
    limit = fan_in**-0.5
    values = np.asarray(bias, np.float64)
    assert 0.999 * limit < np.abs(values).max() <= limit * (1 + 1e-6)
    assert stats.kstest(values, stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", ["he_normal", "lecun_normal"])
def test_normal_initialisations_have_zero_biases(name):
    bias = initialization(name).bias(9)(jax.random.key(0), (100,), jnp.dtype("float32"))
    np.testing.assert_array_equal(bias, np.zeros(100))


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("he_normall", "did you mean 'he_normal'?"),
        ("pytorh", "did you mean 'pytorch'?"),
        ("zzz", "choose from pytorch, he_normal, lecun_normal"),
    ],
)
def test_unknown_names_are_refused(name, cure):
    with pytest.raises(InputError) as error:
        initialization(name)
    assert str(error.value).startswith(f"initializer: got '{name}'")
    assert cure in str(error.value)
    assert "\n" not in str(error.value)


def test_names():
    assert list(INITIALIZATIONS) == ["pytorch", "he_normal", "lecun_normal"]
