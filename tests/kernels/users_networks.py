"""Networks as their users write them: weights changed on the way, layers in odd places and orders.

Each is one of a kind that a rule for layers by name would get wrong.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import freeze
from jax import lax

from tests.kernels import models

F64 = {"param_dtype": jnp.float64}
VECTORS, SEQUENCES = (5, 4), (5, 3, 4)


class Mlp(nn.Module):
    """Two dense layers."""

    options: tuple = ()

    @nn.compact
    def __call__(self, x):
        hidden = nn.Dense(5, name="first", **F64, **dict(self.options))(x)
        return nn.Dense(2, name="last", **F64)(jnp.tanh(hidden))


def plain(p, x):
    return Mlp().apply({"params": p}, x)


def _with_first(change):
    """The network with another kernel of its first layer."""

    def network(p, x):
        first = {**p["first"], "kernel": change(p["first"]["kernel"])}
        return plain({**p, "first": first}, x)

    return network


def _half_product(a, w, dimensions, precision=None, **options):
    return lax.dot_general(a, w / 2, dimensions, precision=precision)


def _cast(p, x):
    short = jax.jit(lambda p: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), p))
    return plain(short(p), x).astype(jnp.float64)


def _returned(p, x):
    @jax.jit
    def step(layer, x):
        return jnp.tanh(nn.Dense(4, **F64).apply({"params": layer}, x)), layer

    hidden, layer = step(p["square"], x)
    return nn.Dense(4, **F64).apply({"params": layer}, hidden)


def _folded(p, x):
    """Pairs of examples' tokens through the network as examples of their own."""
    return plain(p, x.reshape(-1, x.shape[-1] // 2)).reshape(len(x), 2, 2).sum(axis=1)


def _intercepted(p, x):
    def tripled(call, args, kwargs, context):
        out = call(*args, **kwargs)
        is_layer = isinstance(context.module, nn.Dense) and context.method_name == "__call__"
        return 3 * out if is_layer else out

    with nn.intercept_methods(tripled):
        return plain(p, x)


def _scattered(p, x):
    there, back = (jnp.arange(len(x)) + 1) % len(x), (jnp.arange(len(x)) - 1) % len(x)
    mixed = plain(p, jnp.zeros_like(x).at[there].set(x))
    return jnp.zeros_like(mixed).at[back].set(mixed)


def _by_a_product(p, x):
    order = jnp.eye(len(x))[::-1]
    return order @ plain(p, order @ x)


def _sorted_and_back(p, x):
    order = jnp.argsort(x[:, 0])
    return plain(p, x[order])[jnp.argsort(order)]


class Tied(nn.Module):
    """An embedding whose matrix also gives the logits."""

    @nn.compact
    def __call__(self, ids):
        embed = nn.Embed(5, 3, name="words", **F64)
        return embed.attend(jnp.tanh(embed(ids)).mean(axis=1))


class Mapped(nn.Module):
    """A layer for each position, or one for all, mapped over them."""

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
        return jnp.tanh(dense(2, name="mapped", **F64)(x)).sum(axis=1)


class TimeFirst(nn.Module):
    """Tokens on the first axis."""

    @nn.compact
    def __call__(self, x):
        return jnp.tanh(nn.Dense(2, **F64)(x.swapaxes(0, 1))).mean(axis=0)


class Folded(nn.Module):
    """Windows folded into the batch."""

    @nn.compact
    def __call__(self, x):
        folded = jnp.tanh(nn.Dense(2, **F64)(x.reshape(-1, x.shape[-1])))
        return folded.reshape(*x.shape[:2], 2).sum(axis=1)


class Positive(nn.Module):
    """A dense layer whose weights are the exponentials of its parameters."""

    @nn.compact
    def __call__(self, x):
        def exponential(tree):
            return jax.tree.map(jnp.exp, tree)

        dense = nn.map_variables(nn.Dense, "params", trans_in_fn=exponential, init=True)
        return jnp.tanh(dense(2, name="dense", **F64)(x))


class Branches(nn.Module):
    """A switch between layers, by the example or by a constant."""

    by_example: bool

    @nn.compact
    def __call__(self, x):
        layers = [nn.Dense(2, name=name, **F64) for name in ("one", "other", "third")]
        if self.is_initializing():
            return sum(layer(x) for layer in layers)
        calls = [lambda _, x, layer=layer: jnp.tanh(layer(x)) for layer in layers]
        if not self.by_example:
            return nn.switch(jnp.asarray(1), calls, self, x)
        outs = jnp.stack([call(self, x) for call in calls], axis=1)
        return jnp.take_along_axis(outs, (x[:, :1, None] > 0).astype(jnp.int32), axis=1)[:, 0]


class OneByHand(nn.Module):
    """A switch one of whose branches uses a weight of the other without its layer."""

    @nn.compact
    def __call__(self, x):
        layer = nn.Dense(2, name="dense", use_bias=False, **F64)
        layer(x)
        kernel = layer.variables["params"]["kernel"]
        calls = [lambda _, x: layer(x), lambda _, x: jnp.tanh(x) @ kernel]
        return nn.switch(jnp.asarray(1), calls, self, x)


class SecondAxis(nn.Module):
    """Layers of a loop whose weights are stacked along their second axis."""

    @nn.compact
    def __call__(self, x):
        scanned = nn.scan(
            lambda layer, x, _: (jnp.tanh(layer(x)), None),
            variable_axes={"params": 1},
            split_rngs={"params": True},
            length=2,
        )
        return scanned(nn.Dense(x.shape[-1], name="dense", **F64), x, None)[0]


class MyDense(nn.Dense):
    """A subclass that computes something else."""

    def __call__(self, x):
        return jnp.tanh(super().__call__(x)) + super().__call__(x**2)


class Dead(nn.Module):
    """A layer that nothing comes of."""

    @nn.compact
    def __call__(self, x):
        self.param("dead", nn.initializers.ones, (3,))
        return nn.Dense(2, name="dense", **F64)(x)


def _own_vjp(fn):
    wrapped = jax.custom_vjp(fn)
    wrapped.defvjp(lambda *at: (fn(*at), at), lambda at, ct: jax.vjp(fn, *at)[1](ct))
    return wrapped


def _own_jvp(fn):
    wrapped = jax.custom_jvp(fn)
    wrapped.defjvp(lambda at, moved: jax.jvp(fn, at, moved))
    return wrapped


def _around(own):
    hidden = own(lambda p, x: jnp.tanh(nn.Dense(4, **F64).apply({"params": p}, x)))

    def network(p, x):
        return nn.Dense(4, **F64).apply({"params": p["square"]}, hidden(p["square"], x))

    return network


def _of(network, shape=VECTORS):
    return network, "weights", shape


def _module(make, shape=VECTORS, ids=False):
    return make, None, (shape, ids)


NETWORKS = {
    "a mask of the first layer": _of(
        _with_first(lambda w: w * jnp.asarray(np.arange(20).reshape(4, 5) % 3 > 0))
    ),
    "scaled as in the NTK's parametrisation": _of(_with_first(lambda w: w / jnp.sqrt(4.0))),
    "projected": _of(_with_first(lambda w: jnp.asarray(np.cos(np.arange(16.0).reshape(4, 4))) @ w)),
    "normalised weights": _of(_with_first(lambda w: w / jnp.linalg.norm(w, axis=0))),
    "gathered weights": _of(_with_first(lambda w: w[jnp.array([2, 0, 0, 3])])),
    "convolved weights": _of(_with_first(lambda w: jax.scipy.signal.convolve2d(w, w, mode="same"))),
    "low-rank change": _of(_with_first(lambda w: w + w[:, :1] @ w[:1])),
    "a product of ones own": _of(
        lambda p, x: Mlp((("dot_general", _half_product),)).apply({"params": p}, x)
    ),
    "a cast of all weights, compiled": _of(_cast),
    "a step that gives its weights back": _of(_returned),
    "a branch that halves weights": _of(
        lambda p, x: lax.cond(jnp.array(True), _with_first(lambda w: w / 2), plain, p, x)
    ),
    "a branch that folds tokens": _of(
        lambda p, x: lax.cond(jnp.array(True), _folded, lambda p, x: plain(p, x[:, :4]), p, x),
        shape=(5, 8),
    ),
    "outputs of layers, intercepted": _of(_intercepted),
    "a copied FrozenDict": _of(
        lambda p, x: plain(freeze(p).copy({"first": jax.tree.map(jnp.negative, p["first"])}), x)
    ),
    "shuffled and restored by scatter": _of(_scattered),
    "shuffled and restored by products": _of(_by_a_product),
    "sorted and back": _of(_sorted_and_back),
    "rolled and back": _of(lambda p, x: jnp.roll(plain(p, jnp.roll(x, 1, axis=0)), -1, axis=0)),
    "features in another order": _of(
        lambda p, x: plain(p, jnp.sort(x[:, ::-1], axis=1)[:, jnp.array([2, 0, 3, 1])])
    ),
    "mapped by hand": _of(lambda p, x: jax.vmap(lambda one: plain(p, one))(x)),
    "mapped by a loop": _of(lambda p, x: lax.map(lambda one: plain(p, one), x)),
    "a rule of ones own around a layer": _of(_around(_own_vjp)),
    "a forward rule of ones own around a layer": _of(_around(_own_jvp)),
    "tied words": _module(Tied, (5, 6), ids=True),
    "one layer mapped over positions": _module(lambda: Mapped(False), SEQUENCES),
    "layers mapped over positions": _module(lambda: Mapped(True), SEQUENCES),
    "time first": _module(TimeFirst, SEQUENCES),
    "as many tokens as examples, first": _module(TimeFirst, (5, 5, 4)),
    "folded": _module(Folded, SEQUENCES),
    "weights by their exponential": _module(Positive),
    "a switch by a constant": _module(lambda: Branches(False)),
    "a choice by the example": _module(lambda: Branches(True)),
    "one branch by hand": _module(OneByHand),
    "stacked along another axis": _module(SecondAxis),
    "a subclass": _module(lambda: MyDense(2, **F64)),
    "a dead parameter": _module(Dead),
    "weight normalisation": _module(lambda: nn.WeightNorm(nn.Dense(2, **F64))),
}


def weights(*layers):
    """Returns parameters of the network of two layers, and of a square one."""
    rng = np.random.default_rng(0)
    shapes = {"first": (4, 5), "last": (5, 2), "square": (4, 4)}
    drawn = {
        name: {"kernel": jnp.asarray(rng.normal(size=shape)), "bias": rng.normal(size=shape[1:])}
        for name, shape in shapes.items()
    }
    return {name: jax.tree.map(jnp.asarray, drawn[name]) for name in layers}


def make(name):
    """Returns ``apply_fn, params, x`` of a case."""
    network, params, shape = NETWORKS[name]
    if params is not None:
        square = network is _returned or "rule" in name
        params = weights("square") if square else weights("first", "last")
        return network, params, models.inputs(shape)
    module, (shape, ids) = network(), shape
    x = models.inputs(shape)
    x = jnp.asarray(np.arange(x.size).reshape(shape) ** 2 % 5) if ids else x
    variables = dict(module.init(jax.random.key(0), x))
    params = models.shaken(variables.pop("params"))
    return lambda p, x: module.apply({**variables, "params": p}, x), params, x
