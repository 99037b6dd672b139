"""Trees of parameters of all kinds, and what a function closes over."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.core import freeze
from flax.training.train_state import TrainState
from jax import lax
from jax.experimental import sparse

from jaxntk.kernels import empirical_ntk
from tests.kernels.programs.fooling import (
    NARROW,
    WIDE,
    Fooling,
    TwoLayers,
    mlp,
    mlp_params,
    small_numbers,
    square,
    vectors,
    weights,
)

FOOLING = Fooling()


@FOOLING.add("tree: a tuple with a key, a count, truth values and nothing")
def _():
    w, v = weights((3, 3), (3, 2))
    params = (
        jax.random.key(3),
        [w, {"seen": jnp.asarray(7), "on": jnp.array([True, False])}],
        None,
        (),
        {"v": v},
    )

    def f(p, x):
        assert p[2] is None
        noise = jax.random.normal(p[0], (3,), jnp.float64)
        return jnp.tanh(x @ p[1][0] + noise) @ p[4]["v"] * p[1][1]["on"]

    return f, params, vectors()


@FOOLING.add("tree: an old key of whole numbers")
def _():
    params = {"key": jax.random.PRNGKey(0), "w": weights((3, 2))[0]}
    return (
        (lambda p, x: x @ p["w"] + jax.random.uniform(p["key"], (2,), jnp.float64)),
        params,
        vectors(),
    )


@FOOLING.add("tree: frozen, with frozen and empty ones in it")
def _():
    params = freeze({
        "a": {"w": jnp.asarray(weights((3, 3))[0]), "nothing": {}},
        "none": {},
        "b": {"w": jnp.asarray(weights((3, 3))[0])},
    })

    def f(p, x):
        q, w = p["a"].pop("w")
        assert not q["nothing"]
        return jnp.tanh(x @ w) @ p.copy({"c": p["b"]})["c"]["w"]

    return f, params, vectors()


@FOOLING.add("tree: names that join to the same name")
def _():
    a, b, c, d = weights((3, 3), (3, 3), (3, 3), (3, 3))
    params = {"a/b": {"c": a}, "a": {"b/c": b, "b": {"c": c}}, "": {"": d}}

    def f(p, x):
        x = jnp.tanh(x @ p["a/b"]["c"]) @ p["a"]["b/c"]
        return jnp.sin(x @ p["a"]["b"]["c"]) @ p[""][""]

    return f, params, vectors()


@FOOLING.add("tree: one array in two places")
def _():
    w = jnp.asarray(weights((3, 3))[0])
    return (lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"]), {"a": w, "b": w}, vectors()


@FOOLING.add("tree: numbers of Python and NumPy beside arrays", NARROW)
def _():
    params = {
        "w": weights((3, 2))[0],
        "gain": 1.5,
        "times": 3,
        "on": True,
        "shift": np.float64(0.5),
        "f32": np.float32(2),
        "none": None,
    }

    def f(p, x):
        return jnp.tanh(p["gain"] * (x @ p["w"]) + p["shift"] * p["times"]) * p["f32"] + p["on"]

    return f, params, vectors()


@jax.tree_util.register_pytree_node_class
class Keyless:
    """A module whose type tells no names of its leaves."""

    def __init__(self, w, inner, static):
        self.w, self.inner, self.static = w, inner, static

    def tree_flatten(self):
        return (self.w, self.inner), self.static

    @classmethod
    def tree_unflatten(cls, static, leaves):
        return cls(*leaves, static)

    def __call__(self, x):
        h = self.static(x @ self.w)
        return h if self.inner is None else self.inner(h)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["w", "step", "b"], meta_fields=["act"]
)
@dataclass(frozen=True)
class Layer:
    """As Equinox has them: arrays and what is static in one."""

    w: Any
    b: Any
    step: Any
    act: Any

    def __call__(self, x):
        return self.act(x @ self.w + self.b)


@FOOLING.add("tree: dataclasses with a count of steps and an activation")
def _():
    a, b, c = weights((3, 4), (4,), (4, 2))
    params = [Layer(a, b, jnp.asarray(3), jnp.tanh), Layer(c, None, None, lambda h: h)]

    def f(p, x):
        first, second = p
        return first(x) @ second.w * (first.step + 1)

    return f, params, vectors()


@flax.struct.dataclass
class Struct:
    """Flax's dataclass."""

    w: Any
    name: str = flax.struct.field(pytree_node=False)
    rest: Any = None


class Named(NamedTuple):
    """A node with names."""

    weight: Any
    count: Any
    empty: Any = ()


@FOOLING.add("tree: Flax's dataclass in a NamedTuple")
def _():
    params = Named(Struct(weights((3, 2))[0], "dense", {"v": weights((2, 2))[0]}), jnp.arange(3))
    return (
        (lambda p, x: jnp.tanh(x @ p.weight.w * p.count.sum()) @ p.weight.rest["v"]),
        params,
        vectors(),
    )


@FOOLING.add("tree: a function with bound arguments")
def _():
    params = jax.tree_util.Partial(
        lambda w, v, x: jnp.tanh(x @ w) @ v, *map(jnp.asarray, weights((3, 3), (3, 2)))
    )
    return (lambda p, x: p(x)), params, vectors()


@FOOLING.add("tree: a state of training with moments of Adam")
def _():
    net, x = TwoLayers(), vectors()
    params = net.init(jax.random.key(0), x)["params"]
    state = TrainState.create(apply_fn=net.apply, params=params, tx=optax.adam(0.1))
    return (lambda s, x: s.apply_fn({"params": s.params}, x)), state, x


@FOOLING.add("tree: parameters and their average, of which the average is used")
def _():
    params = {
        "fast": mlp_params(),
        "slow": jax.tree.map(lambda w: w + 0.1, mlp_params()),
        "decay": 0.9,
        "steps": jnp.asarray(10),
    }
    return (lambda p, x: mlp(p["slow"], x) + 0.0 * mlp(p["fast"], x)), params, vectors()


@FOOLING.add("tree: boxes that tell how arrays are spread")
def _():
    class Spread(nn.Module):
        @nn.compact
        def __call__(self, x):
            start = nn.with_partitioning(nn.initializers.normal(1.0), (None, "d"))
            return jnp.tanh(nn.Dense(2, kernel_init=start, **WIDE)(x))

    net, x = Spread(), vectors()
    return (lambda p, x: net.apply({"params": p}, x)), net.init(jax.random.key(0), x)["params"], x


class NnxNet(nnx.Module):
    """Layers in a list, a variable of its own kind, and keys."""

    def __init__(self):
        rngs = nnx.Rngs(0, dropout=1)
        kinds = {"param_dtype": jnp.float64, "rngs": rngs}
        self.layers = nnx.List([nnx.Linear(3, 3, **kinds), nnx.Linear(3, 2, **kinds)])
        self.gain = nnx.Param(jnp.asarray(1.5))
        self.count = nnx.Variable(jnp.asarray(3))
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        h = self.drop(jnp.tanh(self.layers[0](x)) * self.gain[...])
        return self.layers[1](h) * self.count[...]


@FOOLING.add("tree: the whole state of NNX")
def _():
    net = NnxNet()
    net.eval()
    graph, state = nnx.split(net)
    return (lambda s, x: nnx.merge(graph, s)(x)), state, vectors()


@FOOLING.add("tree: the state of NNX as plain dictionaries")
def _():
    net = NnxNet()
    net.eval()
    graph, params, rest = nnx.split(net, nnx.Param, ...)

    def f(p, x):
        state = nnx.State(jax.tree.map(lambda leaf: leaf, params))
        nnx.replace_by_pure_dict(state, p)
        return nnx.merge(graph, state, rest)(x)

    return f, nnx.to_pure_dict(params), vectors()


@FOOLING.add("tree: an array of its own kind, sparse")
def _():
    params = sparse.BCOO(
        (jnp.asarray(weights((3,))[0]), jnp.asarray([[0, 1], [2, 0], [1, 1]])), shape=(3, 2)
    )
    return (lambda p, x: jnp.tanh(x @ p)), params, vectors()


@FOOLING.add("tree: whole numbers with a learnt scale")
def _():
    params = {"q": small_numbers(np.int8, 3, 4), "scale": weights((4,))[0], "zero": weights(())[0]}
    return (
        (lambda p, x: jnp.tanh(x @ ((p["q"].astype(float) - p["zero"]) * p["scale"] * 0.02))),
        params,
        vectors(),
    )


@FOOLING.add("tree: float32 and float64 together", NARROW)
def _():
    a, b = weights((3, 3), (3, 2))
    return (
        (lambda p, x: jnp.tanh(x.astype("float32") @ p["a"]) @ p["b"]),
        {"a": a.astype(np.float32), "b": b},
        vectors(),
    )


@FOOLING.add("tree: arrays without entries")
def _():
    params = {"none": np.zeros((0, 2)), "layers": np.zeros((0, 3, 3)), "w": weights((3, 2))[0]}

    def f(p, x):
        h = lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, p["layers"])[0]
        return h @ p["w"] + x[:, :0] @ p["none"]

    return f, params, vectors()


@FOOLING.add("closure: a constant that was another one when the kernel was last taken")
def _():
    box = {"gain": jnp.asarray(1.0)}
    params, x = mlp_params(), vectors()

    def f(p, x):
        return mlp(p, x * box["gain"])

    empirical_ntk(f, jax.tree.map(jnp.asarray, params), x, outputs="trace")
    box["gain"] = jnp.asarray([3.0, 2.0, 1.0])
    return f, params, x


@FOOLING.add("closure: a module that got another activation")
def _():
    class Net:
        act = staticmethod(jnp.tanh)

        def __call__(self, p, x):
            return self.act(x @ p["a"]) @ p["b"]

    net, params, x = Net(), square(), vectors()

    def f(p, x):
        return net(p, x)

    empirical_ntk(f, jax.tree.map(jnp.asarray, params), x, outputs="trace")
    net.act = jnp.sin
    return f, params, x


@FOOLING.add("closure: a list of layers that grew")
def _():
    layers, params, x = [jnp.tanh], square(), vectors()

    def f(p, x):
        h = x @ p["a"]
        for layer in layers:
            h = layer(h)
        return h @ p["b"]

    empirical_ntk(f, jax.tree.map(jnp.asarray, params), x, outputs="trace")
    layers.append(lambda h: h**2)
    return f, params, x
