"""What has a kernel passes; what couples examples or draws at random is refused by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.errors import InputError
from jaxntk.kernels.check import ModelCheck, check_model
from jaxntk.kernels.empirical import empirical_ntk
from tests.kernels import models

F64 = {"param_dtype": jnp.float64}


class Normalised(nn.Module):
    """A network with batch normalisation."""

    stored: bool | None

    @nn.compact
    def __call__(self, x, use_running_average=None):
        norm = nn.BatchNorm(use_running_average=self.stored, **F64)
        return nn.Dense(2)(norm(nn.Dense(4)(x), use_running_average))


class Dropped(nn.Module):
    """A network with dropout."""

    deterministic: bool

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=self.deterministic)(nn.Dense(2)(x))


@pytest.fixture(autouse=True, scope="module")
def linens_own_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


def _linen(model, **kwargs):
    x = models.inputs((4, 3))
    variables = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, x, **kwargs)
    rest = {name: value for name, value in variables.items() if name != "params"}

    def apply_fn(params, x):
        out = model.apply(
            {**rest, "params": params},
            x,
            **kwargs,
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats"],
        )
        return out[0]

    return apply_fn, variables["params"], x


@pytest.mark.parametrize("name", ["conv", "shared weights", "embedding"])
def test_a_sound_function_passes_with_its_plan(name):
    found = check_model(*models.make(name))
    assert (found.outputs, found.frozen) == (models.OUT, False)
    assert found.plan.method == "gram"
    assert found.plan.count == models.OUT
    collected = {path[0] for path, each in found.plan.parameters.items() if each.reason}
    assert collected == ({"twice"} if name == "shared weights" else set())


def test_what_is_found_is_told():
    found = check_model(lambda w, x: x @ w, *_weights())
    assert isinstance(found, ModelCheck)
    assert "params  " in str(found.plan)


def test_batch_statistics_are_refused_with_the_cure():
    for apply_fn, params, x in (
        _linen(Normalised(stored=False)),
        _linen(Normalised(stored=None), use_running_average=False),
    ):
        message = r"^apply_fn: got outputs that depend on the other examples.*stored batch"
        with pytest.raises(InputError, match=message):
            check_model(apply_fn, params, x)
        with pytest.raises(InputError, match=r"^apply_fn: got outputs that .*examples='coupled'"):
            empirical_ntk(apply_fn, params, x, outputs="sum")
        assert empirical_ntk(apply_fn, params, x, outputs="sum", examples="coupled").shape == (4, 4)


def test_stored_statistics_pass():
    assert not check_model(*_linen(Normalised(stored=True))).frozen


def test_dropout_is_refused_and_passes_when_off():
    with pytest.raises(InputError, match=r"random|depend on the other examples"):
        check_model(*_linen(Dropped(deterministic=False)))
    assert not check_model(*_linen(Dropped(deterministic=True))).frozen


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_coupling_without_flax_is_found_by_derivative_in_any_unit(unit):
    weights, x = _weights()

    def normalised(w, x):
        centred = x - x.mean(0, keepdims=True)
        return centred / jnp.sqrt(jnp.mean(centred**2)) @ w

    with pytest.raises(InputError, match=r"outputs that depend on the other examples"):
        check_model(normalised, weights, unit * x)


def _held_constant(w, x):
    hidden = jnp.tanh(x @ w)
    return hidden - lax.stop_gradient(hidden.mean(axis=0, keepdims=True))


def test_statistics_held_constant_are_found_and_can_be_allowed():
    weights, x = _weights()
    with pytest.raises(InputError, match=r"outputs that are other ones in a batch than alone"):
        check_model(_held_constant, weights, x)
    found = check_model(_held_constant, weights, x, frozen_statistics=True)
    assert found.frozen
    assert found.plan.share("factorised", "materialised") == 1


def test_state_and_pick_are_known():
    weights, x = _weights()

    def network(w, x, state):
        return {"out": x @ w + state["shift"][None]}

    found = check_model(
        network, weights, x, state={"shift": jnp.ones(2)}, pick=lambda out: out["out"]
    )
    assert found.outputs == 2


def test_whole_numbers_have_no_derivative_and_pass():
    ids = jnp.asarray(np.arange(12).reshape(4, 3) % 5)
    table = models.inputs((5, 2), 1)
    assert not check_model(lambda w, ids: w[ids].sum(axis=1), table, ids).frozen


def test_numbers_that_are_not_finite_and_single_examples_are_refused():
    with pytest.raises(InputError, match="not finite"):
        check_model(lambda w, x: x @ w / 0.0, *_weights())
    w, x = _weights()
    with pytest.raises(InputError, match=r"^x: got 1 example"):
        check_model(lambda w, x: x @ w, w, x[:1])


def _weights():
    return models.inputs((3, 2), seed=3), models.inputs((4, 3))
