"""A wrong rule, examples that interact and chance are found; what is sound passes."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.errors import InputError
from jaxntk.kernels import compiled, empirical
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.guard import MethodFallback, Verdict, ZeroKernel, warn_of_verdict
from jaxntk.kernels.traced import operations
from jaxntk.kernels.traced.operations import Gradients
from tests.kernels import models
from tests.kernels.explicit import assert_exact, full_kernel, jacobians
from tests.networks.tiny import assert_close

F64 = {"param_dtype": jnp.float64}


@pytest.fixture(autouse=True)
def linens_own_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def nothing_remembered(monkeypatch):
    """Kernels and verdicts are made anew, and forgotten afterwards."""
    monkeypatch.setattr(compiled, "_compiled", type(compiled._compiled)())


def _doubled(rule):
    """A rule whose gradients are twice what they are."""

    def wrong(eqn, which, data, ct):
        found = rule(eqn, which, data, ct)
        return found if found is None else rule(eqn, which, 2 * data, ct)

    return wrong


def _first_token(rule):
    """A rule that sees the first token alone: right for vectors."""

    def wrong(eqn, which, data, ct):
        found = rule(eqn, which, data, ct)
        factors = found.factors()

        def first():
            return factors._replace(left=factors.left[:, :, :1], right=factors.right[:, :, :1])

        return Gradients(first, 1, found.size)

    return wrong


def _transposed(rule):
    """A rule that pairs the data of each example with the cotangents of another."""

    def wrong(eqn, which, data, ct):
        return rule(eqn, which, data, jnp.roll(ct, 1, axis=0))

    return wrong


def _tokens(p, x):
    return jnp.tanh(x @ p["w"]).sum(axis=1) @ p["v"]


def _token_case():
    return {"w": models.inputs((4, 3), 1), "v": models.inputs((3, 2), 2)}, models.inputs((5, 6, 4))


def _images(p, x):
    out = lax.conv_general_dilated(
        x, p["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.tanh(out).sum(axis=(1, 2))


BROKEN = {
    "products, doubled": ("dot_general", _doubled, _tokens, _token_case),
    "products, one token": ("dot_general", _first_token, _tokens, _token_case),
    "products, mixed up": ("dot_general", _transposed, _tokens, _token_case),
    "convolutions, doubled": (
        "conv_general_dilated",
        _doubled,
        _images,
        lambda: ({"w": models.inputs((3, 3, 2, 2), 1)}, models.inputs((4, 5, 5, 2))),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.usefixtures("nothing_remembered")
def test_a_broken_rule_is_found(monkeypatch, name):
    operation, broken, function, make = BROKEN[name]
    params, x = make()
    rule = operations.GRADIENT_RULES[operation]
    monkeypatch.setitem(operations.GRADIENT_RULES, operation, broken(rule))
    with pytest.warns(MethodFallback, match=r"off by .* on 3 examples.*per-example gradients"):
        kernel = empirical_ntk(function, params, x, outputs="trace")
    assert_close(kernel, np.einsum("ijcc->ij", full_kernel(jacobians(function, params, x))), 1e-10)
    with pytest.raises(InputError, match=r"^method: got gram, which is off by .*choose auto"):
        empirical_ntk(function, params, x, outputs="trace", method="gram")
    # What was found is remembered, and told at every call.
    with pytest.warns(MethodFallback):
        empirical_ntk(function, params, x + 1, outputs="trace")


@pytest.mark.usefixtures("nothing_remembered")
def test_without_the_check_a_broken_rule_is_not_found(monkeypatch):
    params, x = _token_case()
    rule = operations.GRADIENT_RULES["dot_general"]
    monkeypatch.setitem(operations.GRADIENT_RULES, "dot_general", _doubled(rule))
    wrong = empirical_ntk(_tokens, params, x, outputs="trace", check=False)
    right = empirical_ntk(_tokens, params, x, outputs="trace", method="per_example_gradients")
    assert np.abs(wrong - right).max() > 0.1 * np.abs(right).max()


@pytest.mark.parametrize(
    ("error", "right"), [(0.0, True), (1e-6, True), (1.1e-6, False), (float("inf"), False)]
)
def test_a_verdict_is_by_its_tolerance(error, right):
    verdict = Verdict(error, 1e-6)
    assert verdict.right == right
    if right:
        assert warn_of_verdict(verdict, "auto") == warn_of_verdict(verdict, "gram") == "gram"
    else:
        with pytest.warns(MethodFallback):
            assert warn_of_verdict(verdict, "auto") == "per_example_gradients"


class Dropped(nn.Module):
    """A network with a dropout."""

    deterministic: bool

    @nn.compact
    def __call__(self, x):
        x = nn.Dropout(0.5, deterministic=self.deterministic)(nn.Dense(4, **F64)(x))
        return nn.Dense(2, **F64)(x)


class Attention(nn.Module):
    """Attention that drops weights."""

    deterministic: bool

    @nn.compact
    def __call__(self, x):
        attend = nn.MultiHeadDotProductAttention(2, dropout_rate=0.5, **F64)
        return attend(nn.LayerNorm(**F64)(x), deterministic=self.deterministic).mean(axis=1)


class Stochastic(nn.Module):
    """Stochastic depth, as users write it."""

    deterministic: bool

    @nn.compact
    def __call__(self, x):
        branch = jnp.tanh(nn.Dense(x.shape[-1], **F64)(x))
        if not self.deterministic:
            keep = jax.random.bernoulli(self.make_rng("dropout"), 0.8, (len(x), 1))
            branch = branch * keep / 0.8
        return x + branch


CHANCE = {
    "dropout": (Dropped, (4, 3)),
    "dropout of attention": (Attention, (4, 3, 4)),
    "stochastic depth": (Stochastic, (4, 3)),
}


@pytest.mark.parametrize("method", ["auto", "per_example_gradients"])
@pytest.mark.parametrize("name", CHANCE)
def test_dropout_left_on_is_refused_and_passes_when_off(name, method):
    make, shape = CHANCE[name]
    x = models.inputs(shape)
    params = make(deterministic=True).init(jax.random.key(0), x)["params"]

    def apply_fn(params, x, *, deterministic):
        model = make(deterministic=deterministic)
        return model.apply({"params": params}, x, rngs={"dropout": jax.random.key(1)})

    with pytest.raises(InputError, match=r"^apply_fn: got a random choice .*deterministic=True"):
        empirical_ntk(
            lambda p, x: apply_fn(p, x, deterministic=False),
            params,
            x,
            outputs="trace",
            method=method,
        )
    if method == "auto" and name != "dropout of attention":
        assert_exact(lambda p, x: apply_fn(p, x, deterministic=True), params, x)


def _normalised(p, x):
    hidden = jnp.tanh(x @ p)
    return (hidden - hidden.mean(axis=0, keepdims=True)) / hidden.std(axis=0, keepdims=True)


def _constant_statistics(p, x):
    hidden = jnp.tanh(x @ p)
    return hidden - lax.stop_gradient(hidden.mean(axis=0, keepdims=True))


def _only_backward(p, x):
    """Outputs as of examples alone, gradients of their mean over the batch."""
    hidden = jnp.tanh(x @ p)
    mean = hidden.mean(axis=0, keepdims=True)
    return lax.stop_gradient(hidden) + mean - lax.stop_gradient(mean)


COUPLED = {
    "batch normalisation by hand": (_normalised, "outputs that are other ones in a batch"),
    "statistics held constant": (_constant_statistics, "outputs that are other ones in a batch"),
    "contrastive logits": (
        lambda p, x: (x @ p) @ (x @ p).T,
        "5 outputs an example in a batch of 5, and 1 alone",
    ),
    "softmax over the batch": (lambda p, x: jax.nn.softmax(x @ p, axis=0), "outputs"),
    "a share of the batch": (lambda p, x: jnp.tanh(x @ p) / len(x), "outputs"),
    "another order": (lambda p, x: (x @ p)[::-1], "outputs"),
    "sorted": (lambda p, x: jnp.sort(x @ p, axis=0), "outputs"),
    "gradients alone": (_only_backward, "gradients that depend on the other examples"),
}


@pytest.mark.parametrize("name", COUPLED)
def test_examples_that_interact_are_refused(name):
    function, message = COUPLED[name]
    params, x = models.inputs((4, 2), 1), models.inputs((5, 4))
    with pytest.raises(
        InputError, match=rf"^apply_fn: got {message}.*examples='coupled'"
    ) as caught:
        empirical_ntk(function, params, x, outputs="trace")
    assert len(str(caught.value).splitlines()) == 1


def test_one_example_cannot_interact():
    params, x = models.inputs((4, 2), 1), models.inputs((1, 4))
    assert_exact(lambda p, x: jnp.tanh(x @ p) / len(x), params, x)


@pytest.mark.filterwarnings("ignore:the kernel has entries that are not finite")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_given_as_they_are(bad):
    """A kernel may overflow; the check then compares what is finite."""
    x = models.inputs((4, 3)).at[1, 0].set(bad)
    kernel = np.asarray(empirical_ntk(lambda p, x: x @ p, jnp.ones(3), x, outputs="trace"))
    assert not np.isfinite(kernel[1]).any()
    rest = np.delete(np.asarray(x), 1, axis=0)
    assert_close(np.delete(np.delete(kernel, 1, 0), 1, 1), rest @ rest.T, 1e-12)


ZEROS = {
    "parameters that nothing uses": lambda p, x: x,
    "a stopped gradient": lambda p, x: x @ lax.stop_gradient(p),
    "a dead layer": lambda p, x: jax.nn.relu(x @ p - 1e3),
    "times zero": lambda p, x: x @ p * 0,
}


@pytest.mark.parametrize("method", ["auto", "per_example_gradients"])
@pytest.mark.parametrize("name", ZEROS)
def test_a_kernel_of_zeros_is_told(name, method):
    params, x = jnp.ones((3, 3)), models.inputs((4, 3))
    with pytest.warns(ZeroKernel, match="every entry of the kernel is zero"):
        kernel = empirical_ntk(ZEROS[name], params, x, outputs="trace", method=method)
    assert not np.asarray(kernel).any()


@pytest.mark.parametrize(("outputs", "shape"), [("trace", (2, 3)), ("full", (2, 3, 4, 4))])
def test_parameters_that_reach_no_output_have_a_kernel_of_zeros(outputs, shape):
    params, rows, columns = {"w": jnp.ones(3)}, jnp.ones((2, 4)), jnp.ones((3, 4))
    for tile in (None, 2):
        with pytest.warns(ZeroKernel):
            kernel = empirical_ntk(
                lambda p, x: x, params, rows, columns, outputs=outputs, tile=tile
            )
        assert_close(kernel, np.zeros(shape))


def test_zeros_are_not_told_where_that_was_switched_off():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empirical_ntk(lambda p, x: x, jnp.ones(3), jnp.ones((2, 4)), outputs="sum", check=False)


def test_inside_jit_there_is_nothing_to_check():
    """Neither numbers to compare nor a kernel to be all zeros."""

    @jax.jit
    def kernel(params, x):
        return empirical_ntk(_normalised, params, x, outputs="trace")

    assert kernel(models.inputs((4, 2), 1), models.inputs((5, 4))).shape == (5, 5)


def test_the_check_is_done_once_for_a_function_and_shape(monkeypatch):
    seen = []
    check = empirical.check_kernels
    monkeypatch.setattr(
        empirical, "check_kernels", lambda *a, **k: (seen.append(a), check(*a, **k))[1]
    )

    def network(p, x):
        return jnp.sin(x @ p)

    params, x = models.inputs((4, 2), 1), models.inputs((5, 4))
    for outputs in ("trace", "sum"):
        empirical_ntk(network, params, x, outputs=outputs)
        empirical_ntk(network, params + 1, x + 1, x[:2], outputs=outputs)
    assert len(seen) == 1
    empirical_ntk(network, params, x[:4], outputs="sum")
    assert len(seen) == 2
