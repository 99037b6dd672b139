"""Functions that have no kernel of single examples, or need not have one that is found."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.core import freeze
from jax import lax

from tests.kernels.programs.draft import Program
from tests.kernels.programs.fooling import (
    WIDE,
    Fooling,
    mlp,
    mlp_params,
    small_numbers,
    tokens,
    vectors,
)

REFUSED, EITHER = Fooling(), Fooling()
LGA: dict[str, Callable[[], tuple[Program, Program]]] = {}


def coupled(name: str, f: Callable, params: Callable = mlp_params, x: Callable = vectors) -> None:
    @REFUSED.add(name)
    def _():
        return f, params(), x()


def _standard(h: jax.Array) -> jax.Array:
    return (h - h.mean(0)) / jnp.sqrt(h.var(0) + 0.01)


def _bernoulli(*shape: int) -> jax.Array:
    return jax.random.bernoulli(jax.random.key(5), 0.5, shape)


coupled("batch norm by hand, learnt", lambda p, x: _standard(jnp.tanh(x @ p["w1"])) @ p["w2"])
coupled("batch norm of the input, in which no parameter is", lambda p, x: mlp(p, _standard(x)))
coupled(
    "batch norm whose statistics are stopped",
    lambda p, x: (
        lambda h: ((h - lax.stop_gradient(h.mean(0))) / lax.stop_gradient(h.std(0) + 0.1)) @ p["w2"]
    )(jnp.tanh(x @ p["w1"])),
)
coupled(
    "mean of the batch subtracted, stopped",
    lambda p, x: mlp(p, x) - lax.stop_gradient(mlp(p, x).mean(0)),
)
coupled(
    "batch norm in a jit in a scan",
    lambda p, x: (
        lax.scan(
            lambda h, _: (jax.jit(_standard)(jnp.tanh(h @ p["w1"] @ p["w1"].T)), None), x, length=2
        )[0]
        @ p["w1"]
    ),
)
coupled(
    "dropout with a fixed key",
    lambda p, x: jnp.where(_bernoulli(len(x), 4), jnp.tanh(x @ p["w1"]), 0.0) @ p["w2"],
)
coupled(
    "noise of a fixed key, for each example",
    lambda p, x: mlp(p, x + jax.random.normal(jax.random.key(1), x.shape, x.dtype)),
)
coupled(
    "whole examples dropped from a branch",
    lambda p, x: x[:, :2] + mlp(p, x) * _bernoulli(len(x), 1),
)
coupled("mixed with the next one", lambda p, x: mlp(p, 0.7 * x + 0.3 * jnp.roll(x, 1, 0)))
coupled("turned round", lambda p, x: mlp(p, x)[::-1])
coupled("softmax over the batch", lambda p, x: jax.nn.softmax(mlp(p, x), axis=0))
coupled(
    "similarity to the others",
    lambda p, x: (lambda z: jax.nn.softmax(z @ z.T, axis=1) @ z)(mlp(p, x)),
)
coupled("sorted over the batch", lambda p, x: jnp.sort(mlp(p, x), axis=0))
coupled(
    "rank in the batch as a feature",
    lambda p, x: mlp(p, x + 0.1 * jnp.argsort(jnp.argsort(x, axis=0), axis=0)),
)
coupled("divided by the largest", lambda p, x: mlp(p, x / jnp.abs(x).max()))
coupled("divided by the norm of the batch", lambda p, x: mlp(p, x / jnp.linalg.norm(x)))
coupled("divided by the number of examples", lambda p, x: mlp(p, x) / len(x))
coupled(
    "multiplied by the number in the batch",
    lambda p, x: mlp(p, x) * (1.0 + jnp.arange(len(x))[:, None]),
)
coupled(
    "each other example another member of an ensemble",
    lambda p, x: mlp(p, x) * p["w2"][jnp.arange(len(x)) % 4],
)
coupled("less the first one", lambda p, x: mlp(p, x - x[:1]))
coupled("added up along the batch", lambda p, x: jnp.cumsum(mlp(p, x), axis=0))
coupled(
    "one goes from example to example",
    lambda p, x: (
        lax.scan(lambda c, a: (jnp.tanh(a @ p["w1"]) + 0.5 * c,) * 2, jnp.zeros(4), x)[1] @ p["w2"]
    ),
)
coupled(
    "a branch that the batch chooses",
    lambda p, x: lax.cond(x.sum() > x[0].sum(), mlp, lambda p, x: 2.0 * mlp(p, x), p, x),
)
coupled(
    "a bias for the one with the largest sum",
    lambda p, x: mlp(p, x) + p["w2"][0] * (x.sum(1, keepdims=True) >= x.sum(1).max()),
)
coupled(
    "folded in the wrong order",
    lambda p, x: (
        mlp(p, jnp.swapaxes(x[None] * jnp.ones((2, 1, 1)), 0, 0).reshape(-1, 3))
        .reshape(len(x), 2, 2)
        .sum(1)
    ),
)
coupled(
    "a convolution over the batch",
    lambda p, x: mlp(p, 0.7 * x + 0.3 * jnp.pad(x, ((1, 0), (0, 0)))[:-1]),
)
coupled(
    "a mean over a named axis of examples",
    lambda p, x: jax.vmap(lambda a: mlp(p, a[None] - lax.pmean(a, "n"))[0], axis_name="n")(x),
)
coupled(
    "int8 images less the mean image",
    lambda p, x: mlp(p, x.astype(float) * 0.01 - x.astype(float).mean(0) * 0.01),
    x=lambda: small_numbers(np.int8, 4, 3),
)
coupled(
    "words that are counted in the whole batch",
    lambda p, x: p["w1"][x].sum(1) / jnp.bincount(x.reshape(-1), length=3).astype(float).sum(),
    x=lambda: small_numbers(np.int32, 4, 3, top=3),
)


@REFUSED.add("a rule that subtracts the mean of the batch on the way back")
def _():
    @jax.custom_vjp
    def centred(h):
        return h

    centred.defvjp(lambda h: (h, None), lambda _, c: (c - c.mean(0),))
    return (lambda p, x: centred(jnp.tanh(x @ p["w1"])) @ p["w2"]), mlp_params(), vectors()


def of_flax(name: str, make: Callable, x: Callable = vectors, **options: Any) -> None:
    @REFUSED.add(name)
    def _():
        class Net(nn.Module):
            @nn.compact
            def __call__(self, x):
                h = jnp.tanh(nn.Dense(4, **WIDE)(x))
                h = make()(h)
                return nn.Dense(2, **WIDE)(h if h.ndim == 2 else h.mean(1))

        net = Net()
        given = x()
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        variables = net.init(keys, given)
        params = variables.pop("params")

        def f(p, x):
            out = net.apply(
                {**variables, "params": p}, x, rngs={"dropout": jax.random.key(2)}, **options
            )
            return out[0] if options else out

        return f, params, given


of_flax("dropout of Flax", lambda: nn.Dropout(0.5, deterministic=False))
of_flax(
    "dropout of whole examples", lambda: nn.Dropout(0.5, broadcast_dims=(1,), deterministic=False)
)
of_flax(
    "dropout of attention",
    lambda: nn.MultiHeadAttention(
        2, dropout_rate=0.5, broadcast_dropout=False, deterministic=False, **WIDE
    ),
    tokens,
)
of_flax(
    "batch norm of Flax",
    lambda: nn.BatchNorm(use_running_average=False, **WIDE),
    mutable=["batch_stats"],
)


@REFUSED.add("dropout and batch norm of NNX, in training")
def _():
    class Net(nnx.Module):
        def __init__(self):
            self.dense = nnx.Linear(3, 2, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
            self.norm = nnx.BatchNorm(2, param_dtype=jnp.float64, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return jnp.tanh(self.norm(self.dense(x)))

    graph, params, rest = nnx.split(Net(), nnx.Param, ...)

    def f(p, x):
        net = nnx.merge(graph, p, rest, copy=True)
        return net(x)

    return f, params, vectors()


@REFUSED.add("weights that are dropped by a fixed draw")
def _():
    def f(p, x):
        kept = jax.random.bernoulli(jax.random.key(0), 0.6, (3, 4))
        return mlp({**p, "w1": p["w1"] * kept}, x)

    return f, mlp_params(), vectors()


@REFUSED.add("statistics that are kept, among the parameters")
def _():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.BatchNorm(use_running_average=True, **WIDE)(nn.Dense(3, **WIDE)(x))
            return nn.Dense(2, **WIDE)(jnp.tanh(h))

    net, x = Net(), vectors()
    return net.apply, net.init(jax.random.key(0), x), x


@EITHER.add("a guard that looks at the whole batch and does not strike")
def _():
    return (
        (lambda p, x: mlp(p, lax.cond(jnp.isfinite(x).all(), lambda x: x, jnp.zeros_like, x))),
        mlp_params(),
        vectors(),
    )


@EITHER.add("a bound on the whole batch that is not reached")
def _():
    return (lambda p, x: mlp(p, x / jnp.maximum(10.0, jnp.abs(x).max()))), mlp_params(), vectors()


@EITHER.add("a function of four examples and no other number")
def _():
    return (lambda p, x: mlp(p, x.reshape(4, 3))), mlp_params(), vectors()


@EITHER.add("an output of which squeeze takes the axis of a single example")
def _():
    return (lambda p, x: jnp.squeeze(x @ p["w1"][:, :1] * p["w2"][0, 0])), mlp_params(), vectors()


@EITHER.add("a gradient that is clipped, which is not linear")
def _():
    @jax.custom_vjp
    def clipped(h):
        return h

    clipped.defvjp(lambda h: (h, None), lambda _, c: (jnp.clip(c, -0.2, 0.2),))
    return (lambda p, x: clipped(jnp.tanh(x @ clipped(p["w1"]))) @ p["w2"]), mlp_params(), vectors()


class Classified(nn.Module):
    """A stem, a normalisation and a classifier."""

    @nn.compact
    def __call__(self, x):
        h = nn.LayerNorm(name="norm", **WIDE)(nn.Dense(4, name="stem", **WIDE)(x))
        return nn.Dense(2, name="classifier", **WIDE)(jnp.tanh(h))


def _lga(name: str, nest: Callable[[Any], Any], find: Callable[[Any], Any]) -> None:
    def made() -> tuple[Program, Program]:
        net, x = Classified(), vectors()
        params = net.init(jax.random.key(0), x)["params"]

        def of(p, x):
            return net.apply({"params": p}, x)

        def chosen(q, x):
            p = {**params, "stem": {**params["stem"], "kernel": q["kernel"]}}
            return of({**p, "norm": {**params["norm"], "scale": q["scale"]}}, x)

        q = {"kernel": params["stem"]["kernel"], "scale": params["norm"]["scale"]}
        program = Program(lambda p, x: of(find(p), x), nest(params), x, name)
        return program, Program(chosen, q, x, name)

    LGA[name] = made


_lga("lga: at the top", lambda p: p, lambda p: p)
_lga("lga: two levels down", lambda p: {"net": {"inner": p}}, lambda p: p["net"]["inner"])
_lga("lga: in a list", lambda p: {"nets": [p]}, lambda p: p["nets"][0])
_lga("lga: frozen", lambda p: freeze({"net": p}), lambda p: p["net"])
