"""Every kind of layer has the kernel of its Jacobian, by Gram rules; and the laws of kernels."""

import jax
import numpy as np
import pytest

from tests.kernels import models
from tests.kernels.explicit import Case
from tests.networks.tiny import assert_close

# The check compiles three programs more, so not every case has it.
CHECKED = ("conv, stride 2", "group norm", "embedding")
# A cell holds five operations on each of six edges: its Jacobian takes long to compile.
NAMES = [*models.LINEN, *(pytest.param(name, marks=pytest.mark.slow) for name in models.CELLS)]


@pytest.fixture(autouse=True, scope="module")
def linens_own_promotion():
    """Flax's norms mix float64 inputs with float32 numbers, which the strict rule refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("name", NAMES)
def test_gram_is_the_jacobian_times_itself_and_follows_the_data(name):
    made, settings = Case(*models.make(name)), {"outputs": "trace", "method": "gram"}
    kernel = np.asarray(made.ntk(made.x, **settings, check=name in CHECKED))
    assert kernel.dtype == np.float64
    assert_close(kernel, made.kernel("trace"), 1e-10)
    assert_close(kernel, kernel.T, 1e-14)
    eigenvalues = np.linalg.eigvalsh(kernel)
    assert eigenvalues[0] >= -1e-12 * eigenvalues[-1], eigenvalues
    order = np.array([3, 0, 4, 1, 2])
    permuted = made.ntk(made.x[order], **settings, check=False)
    assert_close(permuted, kernel[np.ix_(order, order)], 1e-12)
