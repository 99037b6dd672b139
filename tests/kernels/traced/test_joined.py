"""Weights that are used several times: their factors, side by side, against summed gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels.arguments import NtkSettings
from jaxntk.kernels.empirical import empirical_ntk, plan_ntk
from jaxntk.kernels.traced.joined import FactorShape, joined_gram
from tests.kernels import small_functions
from tests.networks.tiny import assert_close

N, ROWS, COLUMNS = 6, 4, 5
ROUTES = ("factorised", "materialised")


def _use(kind, seed):
    """Returns factors of one use, and the gradients (n, rows, columns) that they stand for."""
    rng = np.random.default_rng(seed)
    match kind:
        case "product":
            left, right = rng.normal(size=(N, 3, ROWS)), rng.normal(size=(N, 3, COLUMNS))
            shape = FactorShape((3, ROWS), (3, COLUMNS), None, False)
            grads = np.einsum("ntr,ntc->nrc", left, right)
        case "steps":
            left, right = rng.normal(size=(N, 7, 2, ROWS)), rng.normal(size=(N, 7, 2, COLUMNS))
            shape = FactorShape((2, ROWS), (2, COLUMNS), None, False)
            grads = np.einsum("nltr,nltc->nrc", left, right)
        case "transposed":
            left, right = rng.normal(size=(N, 2, COLUMNS)), rng.normal(size=(N, 2, ROWS))
            shape = FactorShape((2, COLUMNS), (2, ROWS), None, True)
            grads = np.einsum("ntc,ntr->nrc", left, right)
        case "look-up":
            ids = rng.integers(-1, ROWS, (N, 3))
            left, right = ids.astype(float), rng.normal(size=(N, 3, COLUMNS))
            shape = FactorShape((3,), (3, COLUMNS), ROWS, False)
            one_hot = (ids[..., None] == np.arange(ROWS)).astype(float)
            grads = np.einsum("ntr,ntc->nrc", one_hot, right)
        case _:
            ids = rng.integers(0, COLUMNS, (N, 3))
            left, right = ids.astype(float), rng.normal(size=(N, 3, ROWS))
            shape = FactorShape((3,), (3, ROWS), COLUMNS, True)
            one_hot = (ids[..., None] == np.arange(COLUMNS)).astype(float)
            grads = np.einsum("ntc,ntr->nrc", one_hot, right)
    return (shape, (jnp.asarray(left), jnp.asarray(right))), grads


USES = [
    ("product",),
    ("steps", "product"),
    ("product", "transposed"),
    ("look-up", "look-up"),
    ("look-up", "transposed"),
    ("look-up", "product", "turned look-up"),
]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", [(N, N), (2, 4)])
@pytest.mark.parametrize("kinds", USES)
def test_they_are_the_products_of_summed_gradients(kinds, shape, route):
    uses, grads = zip(*(_use(kind, seed) for seed, kind in enumerate(kinds)), strict=True)
    flat = sum(grads).reshape(N, -1)
    rows, columns = (flat, flat) if shape == (N, N) else (flat[:2], flat[2:])
    got = joined_gram(uses, N, shape, route, jnp.dtype("float64"))
    assert_close(got, rows @ columns.T, 1e-13)


def tied(params, ids):
    hidden = jnp.tanh(params["words"][ids] @ params["mix"])
    return hidden @ params["words"].T


def recurrent(params, x):
    def step(h, at):
        return jnp.tanh(at @ params["in"] + h @ params["own"] + params["bias"][None]), None

    start = jnp.zeros((len(x), 3), x.dtype)
    return lax.scan(step, start, jnp.swapaxes(x, 0, 1))[0]


def nested(params, x):
    """A loop in a loop, in a branch, under a checkpoint."""

    def inner(h, _):
        return jnp.tanh(h @ params["own"]), None

    @jax.checkpoint
    def outer(h, _):
        return lax.scan(inner, h * 1.5, None, length=2)[0], None

    def three(h):
        return lax.scan(outer, h, None, length=3)[0]

    return lax.cond(True, three, lambda h: h @ params["own"].T, x) @ params["own"]


FUNCTIONS = {
    "tied": (
        tied,
        {"words": (30, 3), "mix": (3, 3)},
        lambda: jnp.arange(20).reshape(5, 4) ** 2 % 30,
        {("words",)},
    ),
    "recurrent": (
        recurrent,
        {"in": (2, 3), "own": (3, 3), "bias": (3,)},
        lambda: small_functions.normal(9, 4, 6, 2),
        {("in",), ("own",)},
    ),
    "nested": (nested, {"own": (3, 3)}, lambda: small_functions.normal(9, 4, 3), {("own",)}),
}


@pytest.mark.parametrize("outputs", ["trace", "sum"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_networks_with_shared_weights_are_their_jacobians(name, route, outputs):
    function, shapes, inputs, joined = FUNCTIONS[name]
    params = {k: small_functions.normal(i, *shape) for i, (k, shape) in enumerate(shapes.items())}
    x = inputs()
    plan = plan_ntk(function, params, x, NtkSettings(outputs, route=route))
    ways = {path for path, each in plan.parameters.items() if each.way.startswith("joined")}
    assert ways == joined, str(plan)
    jac = small_functions.jacobian(function, params, x)
    jac = jac.sum(axis=1, keepdims=True) if outputs == "sum" else jac
    kernel = empirical_ntk(function, params, x, outputs=outputs, route=route)
    assert_close(kernel, np.einsum("icp,jcp->ij", jac, jac), 1e-12)
    block = empirical_ntk(function, params, x[:2], x[2:], outputs=outputs, route=route, tile=1)
    assert_close(block, np.einsum("icp,jcp->ij", jac[:2], jac[2:]), 1e-12)


def test_factors_larger_than_gradients_are_added_up_instead():
    def many_tokens(w, x):
        return jnp.tanh(x @ w) @ w

    x = small_functions.normal(0, 3, 40, 2)
    plan = plan_ntk(many_tokens, small_functions.normal(1, 2, 2), x, NtkSettings("trace"))
    assert next(iter(plan.parameters.values())).way == "collected", str(plan)
