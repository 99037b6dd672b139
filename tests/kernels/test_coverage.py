"""Which parameters the rules cover, and why not the others."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxntk.kernels import coverage
from jaxntk.kernels.coverage import gram_coverage
from tests.kernels import models

X = jnp.ones((4, 3))


@pytest.fixture(autouse=True, scope="module")
def linens_own_promotion():
    """Layers here have parameters in float32, inputs in float64."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def _found(module, x=X):
    x = x.astype(jnp.float64) if x.dtype == jnp.float32 else x
    variables = module.init(jax.random.key(0), x)
    return gram_coverage(lambda p, x: module.apply({"params": p}, x), variables["params"], x)


class Tied(nn.Module):
    """An embedding whose matrix also gives the logits."""

    @nn.compact
    def __call__(self, ids):
        embed = nn.Embed(5, 3, name="words")
        return embed.attend(embed(ids).mean(axis=1))


class Mapped(nn.Module):
    """One layer for every position, mapped over them."""

    stacked: bool

    @nn.compact
    def __call__(self, x):
        dense = nn.vmap(
            nn.Dense,
            in_axes=1,
            out_axes=1,
            variable_axes={"params": 0 if self.stacked else None},
            split_rngs={"params": self.stacked},
        )
        return dense(2, name="mapped")(x).sum(axis=1)


class TimeFirst(nn.Module):
    """Tokens on the first axis."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="dense")(x.swapaxes(0, 1)).mean(axis=0)


class Folded(nn.Module):
    """Windows folded into the batch."""

    @nn.compact
    def __call__(self, x):
        folded = nn.Dense(2, name="dense")(x.reshape(-1, x.shape[-1]))
        return folded.reshape(*x.shape[:2], 2).sum(axis=1)


class Positive(nn.Module):
    """A dense layer whose kernel is the exponential of its parameter."""

    @nn.compact
    def __call__(self, x):
        dense = nn.map_variables(
            nn.Dense,
            "params",
            trans_in_fn=lambda tree: jax.tree.map(jnp.exp, tree),
            init=True,
        )
        return dense(2, name="dense")(x)


class Branches(nn.Module):
    """A switch between two layers."""

    @nn.compact
    def __call__(self, x):
        layers = [nn.Dense(2, name="one"), nn.Dense(2, name="other")]
        if self.is_initializing():
            for layer in layers:
                layer(x)
        calls = [lambda _, x, layer=layer: layer(x) for layer in layers]
        return nn.switch(jnp.asarray(1), calls, self, x)


class Dead(nn.Module):
    """A layer that nothing comes of."""

    @nn.compact
    def __call__(self, x):
        self.param("dead", nn.initializers.ones, (3,))
        return nn.Dense(2, name="dense")(x)


class SecondAxis(nn.Module):
    """Layers of a loop whose weights are stacked along their second axis."""

    @nn.compact
    def __call__(self, x):
        scanned = nn.scan(
            lambda layer, x, _: (layer(x), None),
            variable_axes={"params": 1},
            split_rngs={"params": True},
            length=2,
        )
        return scanned(nn.Dense(x.shape[-1], name="dense"), x, None)[0]


class HalfRuled(nn.Module):
    """A switch one of whose branches uses a weight of the other without its layer."""

    @nn.compact
    def __call__(self, x):
        layer = nn.Dense(2, name="dense", use_bias=False)
        layer(x)
        kernel = layer.variables["params"]["kernel"]
        calls = [lambda _, x: layer(x), lambda _, x: jnp.tanh(x) @ kernel]
        return nn.switch(jnp.asarray(1), calls, self, x)


class MyDense(nn.Dense):
    """A subclass may compute anything."""


SEQUENCE = jnp.ones((4, 5, 3))
REASONS = {
    "tied": (Tied(), jnp.zeros((4, 5), jnp.int32), coverage.SHARED),
    "mapped, shared": (Mapped(stacked=False), SEQUENCE, coverage.NOT_BY_EXAMPLE),
    "mapped, stacked": (Mapped(stacked=True), SEQUENCE, coverage.NOT_BY_EXAMPLE),
    "time first": (TimeFirst(), SEQUENCE, coverage.NOT_BY_EXAMPLE),
    "folded": (Folded(), SEQUENCE, coverage.NOT_BY_EXAMPLE),
    "changed": (Positive(), X, coverage.TRANSFORMED),
    "subclass": (MyDense(2), X, coverage.NO_RULE),
    "one branch by hand": (HalfRuled(), X, coverage.NO_RULE),
    "stacked along another axis": (SecondAxis(), X, coverage.TRANSFORMED),
    "used twice": (models.Shared(), X, coverage.SHARED),
    "looped": (models.Recurrent(), X, coverage.LOOPED),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_a_rule_would_get_wrong_is_not_covered(name):
    module, x, reason = REASONS[name]
    found = _found(module, x)
    layer = next(iter(found.uncovered))[0]
    reasons = {why for path, why in found.uncovered.items() if path[0] == layer}
    assert reason in reasons, found
    assert not found.complete


def test_branches_count_once():
    found = _found(Branches())
    assert found.complete, found
    assert {path[0] for path in found.places.leading} == {"one", "other"}


def test_what_nothing_depends_on_is_named():
    found = _found(Dead())
    assert found.unused == (("dead",),)
    assert found.complete


def test_a_loop_over_stacked_layers_is_covered_with_its_axis():
    apply_fn, params, x = models.make("small ViT")
    leading = gram_coverage(apply_fn, params, x).places.leading
    assert {lead for path, lead in leading.items() if path[0] == "blocks"} == {(2,)}
    assert {lead for path, lead in leading.items() if path[0] != "blocks"} == {()}


def test_a_batch_of_one_size_is_traced_with_that_size():
    offsets = jnp.ones((4, 2))
    module = nn.Dense(2)
    params = module.init(jax.random.key(0), X)["params"]
    found = gram_coverage(lambda p, x: module.apply({"params": p}, x) + offsets, params, X)
    assert found.complete


def test_a_batch_of_one_size_that_another_axis_has_too_is_not_covered():
    module = nn.Dense(2)
    params = module.init(jax.random.key(0), X)["params"]

    def time_first(p, x):
        out = module.apply({"params": p}, x.reshape(4, 4, 3).swapaxes(0, 1))
        return jnp.tanh(out).swapaxes(0, 1).sum(axis=1)

    found = gram_coverage(time_first, params, jnp.ones((4, 4, 3)))
    assert set(found.uncovered.values()) == {coverage.NOT_BY_EXAMPLE}


ORDER = jnp.array([2, 0, 3, 1])
ORDERS = {
    "flipped": lambda x: x[::-1],
    "rolled": lambda x: jnp.roll(x, 1, axis=0),
    "sorted": lambda x: x[jnp.argsort(x[:, 0])],
    "sorted by axis": lambda x: jnp.sort(x, axis=0),
    "inside jit": jax.jit(lambda x: x[::-1]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_examples_in_another_order_are_not_covered(name):
    module = nn.Dense(2)
    params = module.init(jax.random.key(0), X)["params"]
    found = gram_coverage(lambda p, x: module.apply({"params": p}, ORDERS[name](x)), params, X)
    assert set(found.uncovered.values()) == {coverage.REORDERED}


def test_other_axes_may_be_in_any_order():
    module = nn.Dense(2)
    params = module.init(jax.random.key(0), X)["params"]

    def reversed_features(p, x):
        x = jnp.concatenate([jnp.sort(x[:, ::-1], axis=1), x[:, :1]], axis=1)[:, ORDER[:3]]
        return module.apply({"params": p}, x)

    assert gram_coverage(reversed_features, params, X).complete


def _own_vjp(fn):
    wrapped = jax.custom_vjp(fn)
    wrapped.defvjp(lambda *at: (fn(*at), at), lambda at, ct: jax.vjp(fn, *at)[1](ct))
    return wrapped


def _own_jvp(fn):
    wrapped = jax.custom_jvp(fn)
    wrapped.defjvp(lambda at, moved: jax.jvp(fn, at, moved))
    return wrapped


@pytest.mark.parametrize("own", [_own_vjp, _own_jvp])
def test_a_derivative_of_ones_own_hides_the_layers_in_it(own):
    model = nn.Dense(3)
    one = model.init(jax.random.key(0), X)["params"]
    hidden = own(lambda p, x: jnp.tanh(model.apply({"params": p}, x)))
    params = {"hidden": one, "seen": one}
    found = gram_coverage(
        lambda p, x: model.apply({"params": p["seen"]}, hidden(p["hidden"], x)), params, X
    )
    assert {path[0] for path in found.places.leading} == {"seen"}
    assert set(found.uncovered.values()) == {coverage.NO_RULE}


class Spectral(nn.Module):
    """A wrapper that looks at every leaf of its layer."""

    @nn.compact
    def __call__(self, x):
        return nn.SpectralNorm(nn.Dense(2))(x, update_stats=False)


@pytest.mark.parametrize("module", [nn.WeightNorm(nn.Dense(2)), Spectral()])
def test_wrappers_that_places_confuse_are_not_covered(module):
    variables = module.init(jax.random.key(0), X)

    def apply_fn(p, x):
        return module.apply({**variables, "params": p}, x)

    found = gram_coverage(apply_fn, variables["params"], X)
    assert not found.places.leading
    assert all(why.startswith(coverage.CONFUSED) for why in found.uncovered.values()), found


def test_what_a_function_itself_raises_is_raised():
    def wrong(p, x):
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        gram_coverage(wrong, {"w": jnp.ones(3)}, X)


def test_integers_and_unnamed_parameters_are_said_to_be_so():
    found = gram_coverage(lambda p, x: x @ p[0], [jnp.ones((3, 2))], X)
    assert set(found.uncovered.values()) == {coverage.NOT_NAMED}
    params = {"steps": jnp.asarray(2), "w": jnp.ones((3, 2))}
    found = gram_coverage(lambda p, x: x @ p["w"] * p["steps"].astype(x.dtype), params, X)
    assert found.uncovered == {("steps",): coverage.NOT_REAL, ("w",): coverage.NO_RULE}
