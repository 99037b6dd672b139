"""Kernel ridge regression against training, least squares and matrices with a known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.linearized import linearized
from jaxntk.kernels.regression import kernel_ridge_regression
from jaxntk.validity import Status
from tests.kernels.small_functions import case, jacobian, normal, outputs

TRAIN = 5


@pytest.fixture(scope="module")
def problem():
    """The tangent features of training and test examples, a row an output, and residuals."""
    function, params, x = case("dense", 8)
    features = jacobian(function, params, x)
    train, test = (
        part.reshape(-1, part.shape[-1]) for part in (features[:TRAIN], features[TRAIN:])
    )
    residuals = normal(5, TRAIN, 2) - outputs(function, params, x[:TRAIN])
    return train, test, residuals.reshape(-1, 1)


def predict(train, test, y, ridge):
    return kernel_ridge_regression(train @ train.T, y, test @ train.T, ridge=ridge)


def test_without_ridge_it_is_least_squares_on_the_tangent_features(problem):
    train, test, y = problem
    fit = predict(train, test, y, 0.0)
    change = np.linalg.lstsq(train, y)[0]  # of all solutions the nearest, as gradient descent finds
    assert (fit.status, fit.added) == (Status.OK, 0)
    np.testing.assert_allclose(fit.prediction_MxC, test @ change, rtol=1e-8)


@pytest.mark.parametrize("ridge", [1e-3, 1.0, 100.0])
def test_with_ridge_it_is_penalised_least_squares(problem, ridge):
    train, test, y = problem
    fit = predict(train, test, y, ridge)
    assert fit.added == pytest.approx(ridge * np.mean(np.sum(train**2, axis=1)))
    penalty = np.sqrt(fit.added) * np.eye(train.shape[1])
    rows = np.concatenate([train, penalty])
    change = np.linalg.lstsq(rows, np.pad(y, ((0, train.shape[1]), (0, 0))))[0]
    np.testing.assert_allclose(fit.prediction_MxC, test @ change, rtol=1e-8)


def test_it_is_where_training_the_linearised_network_ends(problem):
    train, test, residuals = problem
    function, params0, x = case("dense", 8)
    y = outputs(function, params0, x[:TRAIN]) + residuals.reshape(TRAIN, 2)
    linear = linearized(function, params0)

    def loss(params):
        return 0.5 * jnp.sum((linear(params, x[:TRAIN]) - y) ** 2)

    eigenvalues = np.linalg.eigvalsh(train @ train.T)
    rate, steps = 1 / eigenvalues[-1], int(25 * eigenvalues[-1] / eigenvalues[0])

    def step(_, params):
        return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))

    trained = jax.jit(lambda params: jax.lax.fori_loop(0, steps, step, params))(params0)
    change = outputs(linear, trained, x[TRAIN:]) - outputs(function, params0, x[TRAIN:])
    fit = predict(train, test, residuals, 0.0)
    assert fit.prediction_MxC is not None
    np.testing.assert_allclose(fit.prediction_MxC.reshape(3, 2), change, rtol=1e-6, atol=1e-7)


def test_training_examples_get_back_their_targets(problem):
    train, _, y = problem
    targets = np.hstack([y, 2 * y, y**2])
    fit = predict(train, train, targets, 0.0)
    np.testing.assert_allclose(fit.prediction_MxC, targets, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_kernel_does_not_matter(problem, scale):
    train, test, y = problem
    root = np.sqrt(scale)
    wanted, got = predict(train, test, y, 0.1), predict(root * train, root * test, y, 0.1)
    np.testing.assert_allclose(got.prediction_MxC, wanted.prediction_MxC, rtol=1e-8)


def test_kernels_of_jax_in_float32_are_taken(problem):
    train, test, y = problem
    narrow = [jnp.asarray(m, jnp.float32) for m in (train @ train.T, y, test @ train.T)]
    fit = kernel_ridge_regression(*narrow, ridge=1.0)
    wanted = predict(train, test, y, 1.0).prediction_MxC
    assert fit.prediction_MxC is not None
    assert fit.prediction_MxC.dtype == np.float64
    np.testing.assert_allclose(fit.prediction_MxC, wanted, rtol=1e-4, atol=1e-5)


EYE = np.eye(3)
NAN, SINGULAR = EYE * np.nan, np.ones((3, 3))
INDEFINITE = np.diag([1.0, 1.0, -1.0])
NEAR = np.ones((3, 3)) + 1e-16 * np.diag([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("gram", "gram_test", "ridge", "status"),
    [
        (EYE, EYE, 0.0, Status.OK),
        (SINGULAR, SINGULAR, 1e-3, Status.OK),
        (NAN, EYE, 1.0, Status.NONFINITE),
        (EYE, NAN, 1.0, Status.NONFINITE),
        (EYE * 1e308, EYE * 1e308, 0.1, Status.OK),
        (EYE, np.full((2, 3), 1e308), 0.0, Status.NONFINITE),
        (0 * EYE, EYE, 1.0, Status.ZERO_KERNEL),
        (SINGULAR, EYE, 0.0, Status.RANK_DEFICIENT),
        (NEAR, EYE, 0.0, Status.RANK_DEFICIENT),
        (INDEFINITE, EYE, 0.0, Status.RANK_DEFICIENT),
        (np.diag([1.0, 1.0, 1e-18]), EYE, 0.0, Status.RANK_DEFICIENT),
    ],
)
def test_a_status_says_what_there_is_no_prediction_for(gram, gram_test, ridge, status):
    fit = kernel_ridge_regression(gram, np.ones((3, 2)), gram_test, ridge=ridge)
    assert fit.status is status
    if status is Status.OK:
        assert fit.prediction_MxC is not None
        assert np.isfinite(fit.prediction_MxC).all()
    else:
        assert fit.prediction_MxC is None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"gram_train_NxN": np.ones((3, 2))},
            r"^gram_train_NxN: got shape \(3, 2\); give a square",
        ),
        (
            {"gram_train_NxN": np.ones((0, 0))},
            r"^gram_train_NxN: got shape \(0, 0\); give a square",
        ),
        ({"gram_train_NxN": np.triu(SINGULAR)}, "^gram_train_NxN: got a matrix with K_ij and K_ji"),
        ({"y_NxC": np.ones(3)}, r"^y_NxC: got shape \(3,\); .* shape \(3, C\)"),
        ({"y_NxC": np.full((3, 1), np.inf)}, "^y_NxC: got targets that are not finite"),
        ({"gram_test_MxN": np.ones((3, 4))}, r"^gram_test_MxN: got shape \(3, 4\); .* \(M, 3\)"),
        ({"ridge": -0.1}, "^ridge: got -0.1; give a finite number, at least 0"),
        ({"ridge": np.nan}, "^ridge: got nan"),
    ],
)
def test_bad_input_is_refused(changes, line):
    good = {"gram_train_NxN": EYE, "y_NxC": np.ones((3, 1)), "gram_test_MxN": EYE, "ridge": 0.1}
    with pytest.raises(InputError, match=line):
        kernel_ridge_regression(**(good | changes))
