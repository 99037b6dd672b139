"""What has a kernel passes; what couples examples or draws at random is refused by name."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.check import check_model
from jaxntk.kernels.empirical import empirical_ntk
from tests.kernels import models
from tests.networks import tiny


class Normalised(nn.Module):
    stored: bool | None

    @nn.compact
    def __call__(self, x, use_running_average=None):
        x = nn.BatchNorm(use_running_average=self.stored, param_dtype=jnp.float64)(
            nn.Dense(4)(x), use_running_average
        )
        return nn.Dense(2)(x)


class Dropped(nn.Module):
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


@pytest.mark.parametrize("name", ["conv", "small ViT, positions", "embedding", *models.CELLS])
def test_a_sound_function_passes(name):
    found = check_model(*models.make(name))
    assert (found.outputs, found.frozen) == (3 if name in models.CELLS else models.OUT, False)
    assert found.coverage.complete == (name != "small ViT, positions")


def test_batch_statistics_are_refused_with_the_layer_and_the_cure():
    for apply_fn, params, x in (
        _linen(Normalised(stored=False)),
        _linen(Normalised(stored=None), use_running_average=False),
    ):
        message = r"apply_fn: got the layer BatchNorm_0 with batch statistics.*use_running_average"
        with pytest.raises(InputError, match=message):
            check_model(apply_fn, params, x)
        with pytest.raises(InputError, match=message):
            empirical_ntk(apply_fn, params, x, outputs="sum")
        assert empirical_ntk(apply_fn, params, x, outputs="sum", examples="coupled").shape == (4, 4)


def test_stored_statistics_pass():
    assert not check_model(*_linen(Normalised(stored=True))).frozen


def test_dropout_is_refused_and_passes_when_off():
    with pytest.raises(InputError, match=r"the layer Dropout_0 drops out at random.*deterministic"):
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


def test_statistics_held_constant_are_found_and_can_be_allowed():
    net = tiny.network(batch_norm=tiny.BatchNormMode.FROZEN, channels=2, cells_per_stage=1)
    variables = tiny.variables(net, (4, 4, 3))
    arch = jnp.asarray(tiny.ALL_OPS, jnp.int32)

    def apply_fn(params, x):
        return net.apply({**variables, "params": params}, x, arch)

    x = jnp.asarray(tiny.images((4, 4, 4, 3)))
    with pytest.raises(InputError, match=r"in a batch than alone.*frozen_statistics"):
        check_model(apply_fn, variables["params"], x)
    found = check_model(apply_fn, variables["params"], x, frozen_statistics=True)
    assert (found.frozen, found.coverage.complete) == (True, True)


def test_numbers_that_are_not_finite_and_single_examples_are_refused():
    with pytest.raises(InputError, match="not finite"):
        check_model(lambda w, x: x @ w / 0.0, *_weights())
    w, x = _weights()
    with pytest.raises(InputError, match=r"^x: got 1 example"):
        check_model(lambda w, x: x @ w, w, x[:1])


def _weights():
    return models.inputs((3, 2), seed=3), models.inputs((4, 3))
