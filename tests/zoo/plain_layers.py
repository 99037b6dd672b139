"""Models in plain JAX: loops, switches, and layers that no library of networks has."""

from functools import partial

import jax
import jax.numpy as jnp

from tests.zoo.model import Make, ZooModel, entry, integers, normal
from tests.zoo.plain import layers, mlp

MODELS: dict[str, Make] = {}


# Loops.


@entry(MODELS, "deep equilibrium, fixed iterations")
def _equilibrium():
    params = {"w": normal(4, 4, seed=1, scale=0.3), "u": normal(3, 4, seed=2), "b": normal(4)}
    params["out"] = normal(4, 2, seed=3)

    def apply_fn(params, x):
        inputs = x @ params["u"] + params["b"]

        def iterate(_, z):
            return jnp.tanh(z @ params["w"] + inputs)

        return jax.lax.fori_loop(0, 6, iterate, jnp.zeros_like(inputs)) @ params["out"]

    return ZooModel(apply_fn, params, normal(5, 3))


@entry(MODELS, "loop that picks its layer")
def _picked():
    params = {"w": normal(3, 4, 4, seed=1, scale=0.5), "b": normal(3, 4, seed=2)}

    def apply_fn(params, x):
        def layer(at, x):
            return x + jnp.tanh(x @ params["w"][at] + params["b"][at])

        x = jax.lax.fori_loop(0, 3, layer, x)
        return x @ params["w"][-1]

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "neural ode, runge-kutta")
def _ode():
    params = {"field": layers(4, 6, 3), "out": normal(3, 2, seed=5)}

    def apply_fn(params, x):
        def field(y, t):
            time = jnp.full((len(y), 1), t)
            return mlp(params["field"], jnp.concatenate([y, time], axis=1))

        def step(y, t, dt=0.25):
            k1 = field(y, t)
            k2 = field(y + dt / 2 * k1, t + dt / 2)
            k3 = field(y + dt / 2 * k2, t + dt / 2)
            k4 = field(y + dt * k3, t + dt)
            return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        y, _ = jax.lax.scan(step, x, jnp.linspace(0, 0.75, 4))
        return y @ params["out"]

    return ZooModel(apply_fn, params, normal(4, 3))


# Switches.

BRANCHES = (
    lambda w, x: jnp.tanh(x @ w),
    lambda w, x: x @ w + x,
    lambda w, x: jax.nn.relu(x) @ w.T,
)


@entry(MODELS, "switch by a constant")
def _switch():
    params = [normal(4, 4, seed=1), normal(4, 4, seed=2), normal(4, 3, seed=3)]

    def apply_fn(params, x):
        for choice, w in zip((2, 0), params[:-1], strict=True):
            x = jax.lax.switch(choice, BRANCHES, w, x)
        x = jax.lax.cond(True, jnp.sin, jnp.cos, x)
        return x @ params[-1]

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "switch by an architecture")
def _architecture():
    params = {"w": [normal(4, 4, seed=1), normal(4, 4, seed=2)], "head": normal(4, 3, seed=3)}

    def apply_fn(params, x, state):
        for choice, w in zip(state["arch"], params["w"], strict=True):
            x = jax.lax.switch(choice, BRANCHES, w, x)
        return x @ params["head"]

    state = {"arch": list(jnp.asarray([1, 2], jnp.int32))}
    return ZooModel(apply_fn, params, normal(5, 4), state)


@entry(MODELS, "branches by the data, under vmap")
def _cond():
    params = {"low": normal(3, 3, seed=1), "high": layers(3, 4, 3), "head": normal(3, 2, seed=3)}

    def single(params, x):
        z = jax.lax.cond(
            x.sum() > 0,
            lambda x: jnp.tanh(x @ params["low"]),
            lambda x: mlp(params["high"], x),
            x,
        )
        return z @ params["head"]

    return ZooModel(jax.vmap(single, in_axes=(None, 0)), params, normal(6, 3))


@entry(MODELS, "branches by the data, one example at a time")
def _mapped():
    params = {"low": normal(3, 2, seed=1), "high": layers(3, 4, 2)}

    def apply_fn(params, x):
        def single(x):
            return jax.lax.cond(
                x[0] > 0, lambda x: jnp.tanh(x @ params["low"]), partial(mlp, params["high"]), x
            )

        return jax.lax.map(single, x)

    return ZooModel(apply_fn, params, normal(6, 3))


# Other kinds of layer.


@entry(MODELS, "convolutions mixed for each example")
def _mixed_convolutions():
    params = {
        "experts": normal(3, 4, 2, 3, 3, seed=1, scale=0.3),
        "route": normal(2, 3, seed=2),
        "head": normal(4, 3, seed=3),
    }

    def single(params, x):
        route = jax.nn.sigmoid(x.mean(axis=(1, 2)) @ params["route"])
        kernel = jnp.tensordot(route, params["experts"], axes=1)
        x = jax.lax.conv(x[None], kernel, (1, 1), "SAME")[0]
        return jax.nn.relu(x).mean(axis=(1, 2)) @ params["head"]

    return ZooModel(jax.vmap(single, in_axes=(None, 0)), params, normal(5, 2, 5, 5))


@entry(MODELS, "modulated convolution, demodulated")
def _modulated():
    params = {"style": layers(3, 2), "w": normal(4, 2, 3, 3, seed=4), "noise": normal(4, 1, 1)}
    params |= {"constant": normal(2, 4, 4, seed=5), "rgb": normal(4, 2, seed=6)}

    def apply_fn(params, z):
        style = mlp(params["style"], z) + 1
        w = params["w"] * style[:, None, :, None, None]
        w = w * jax.lax.rsqrt(jnp.sum(w**2, axis=(2, 3, 4), keepdims=True) + 1e-8)
        n, out, cin, height, width = w.shape
        x = jnp.broadcast_to(params["constant"], (n, *params["constant"].shape))
        x = jax.lax.conv_general_dilated(
            x.reshape(1, n * cin, 4, 4),
            w.reshape(n * out, cin, height, width),
            (1, 1),
            "SAME",
            feature_group_count=n,
        ).reshape(n, out, 4, 4)
        x = jax.nn.leaky_relu(x + params["noise"], 0.2)
        return jnp.einsum("nchw,cr->nr", x, params["rgb"])

    return ZooModel(apply_fn, params, normal(4, 3))


@entry(MODELS, "fourier neural operator")
def _fourier():
    params = {
        "real": normal(3, 3, 3, seed=1, scale=0.5),
        "imaginary": normal(3, 3, 3, seed=2, scale=0.5),
        "local": normal(3, 3, seed=3, scale=0.5),
        "lift": normal(1, 3, seed=4),
        "head": normal(3, 2, seed=5),
    }

    def apply_fn(params, x):
        x = x @ params["lift"]
        modes = jnp.fft.rfft(x, axis=1)
        weights = params["real"] + 1j * params["imaginary"]
        kept = jnp.einsum("bmi,mio->bmo", modes[:, :3], weights)
        modes = jnp.zeros_like(modes).at[:, :3].set(kept)
        x = jax.nn.gelu(jnp.fft.irfft(modes, n=x.shape[1], axis=1) + x @ params["local"])
        return x.mean(axis=1) @ params["head"]

    return ZooModel(apply_fn, params, normal(4, 8, 1))


@entry(MODELS, "graphs, summed over edges")
def _graphs():
    params = {"message": layers(4, 5, 3), "update": layers(5, 2), "head": normal(2, 2, seed=7)}

    def single(params, graph):
        nodes, edges = graph["nodes"], graph["edges"]
        source, target = edges[:, 0], edges[:, 1]
        pairs = jnp.concatenate([nodes[source], nodes[target]], axis=-1)
        messages = mlp(params["message"], pairs)
        inbox = jax.ops.segment_sum(messages, target, num_segments=len(nodes))
        nodes = jax.nn.relu(mlp(params["update"], jnp.concatenate([nodes, inbox], axis=-1)))
        return nodes.max(axis=0) @ params["head"]

    graphs = {"nodes": normal(4, 4, 2), "edges": integers(4, 4, 6, 2)}
    return ZooModel(jax.vmap(single, in_axes=(None, 0)), params, graphs)


@entry(MODELS, "sets of points, pooled")
def _points():
    params = {"point": layers(3, 6, 5), "set": layers(10, 4, 2)}

    def apply_fn(params, x):
        x = mlp(params["point"], x, jax.nn.relu)
        pooled = jnp.concatenate([x.max(axis=1), jax.nn.logsumexp(x, axis=1)], axis=-1)
        return mlp(params["set"], pooled)

    return ZooModel(apply_fn, params, normal(5, 4, 3))


@entry(MODELS, "radial basis and sines")
def _radial():
    params = {"centres": normal(5, 2, seed=1), "log_width": normal(5, seed=2, scale=0.3)}
    params |= {"frequencies": normal(2, 4, seed=3), "phase": normal(4), "head": normal(9, 2)}

    def apply_fn(params, x):
        apart = jnp.sum((x[:, None] - params["centres"]) ** 2, axis=-1)
        bumps = jnp.exp(-apart * jnp.exp(params["log_width"]))
        waves = jnp.sin(3.0 * (x @ params["frequencies"]) + params["phase"])
        return jnp.concatenate([bumps, waves], axis=-1) @ params["head"]

    return ZooModel(apply_fn, params, normal(6, 2))


@entry(MODELS, "cosine classifier, normalised")
def _cosine():
    params = {"body": layers(4, 6, 5), "classes": normal(3, 5, seed=5), "scale": jnp.asarray(4.0)}

    def apply_fn(params, x):
        x = jnp.tanh(mlp(params["body"], x))
        x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
        w = params["classes"] / jnp.linalg.norm(params["classes"], axis=-1, keepdims=True)
        return jax.nn.log_softmax(params["scale"] * x @ w.T)

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "codebook, straight-through")
def _codebook():
    params = {"encode": layers(4, 3), "codes": normal(6, 3, seed=3), "decode": layers(3, 2)}

    def apply_fn(params, x):
        z = mlp(params["encode"], x)
        nearest = jnp.argmin(((z[:, None] - params["codes"]) ** 2).sum(-1), axis=1)
        code = params["codes"][nearest]
        through = z + jax.lax.stop_gradient(code - z)
        return mlp(params["decode"], through + 0.25 * (code - jax.lax.stop_gradient(code)))

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "bag of words, many fields")
def _fields():
    params = {"tables": [normal(5, 3, seed=1), normal(4, 3, seed=2)], "wide": normal(9, 2, seed=3)}
    params["deep"] = layers(8, 4, 2)

    def apply_fn(params, x):
        first, second = (
            table.at[x["ids"][:, at]].get() for at, table in enumerate(params["tables"])
        )
        crossed = jnp.sum(first * second, axis=-1, keepdims=True)
        deep = jnp.concatenate([first, second, crossed, x["number"]], axis=-1)
        counts = jax.nn.one_hot(x["ids"][:, 0], 5), jax.nn.one_hot(x["ids"][:, 1], 4)
        return mlp(params["deep"], deep) + jnp.concatenate(counts, axis=-1) @ params["wide"]

    return ZooModel(apply_fn, params, {"ids": integers(4, 6, 2), "number": normal(6, 1)})


@entry(MODELS, "ensemble of rank one")
def _batch_ensemble():
    params = {"w": normal(4, 5, seed=1), "r": normal(3, 4, seed=2), "s": normal(3, 5, seed=3)}
    params |= {"b": normal(3, 5, seed=4), "head": normal(5, 2, seed=5)}

    def member(r, s, b, w, x):
        return jax.nn.relu((x * r) @ w * s + b)

    def apply_fn(params, x):
        members = jax.vmap(member, in_axes=(0, 0, 0, None, None), out_axes=1)
        hidden = members(params["r"], params["s"], params["b"], params["w"], x)
        return hidden.mean(axis=1) @ params["head"]

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "spatial transformer, sampled")
def _spatial_transformer():
    params = {"locate": layers(16, 2), "head": layers(16, 2, seed=3)}

    def single(params, image):
        shift = jnp.tanh(mlp(params["locate"], image.ravel()))
        rows, columns = jnp.meshgrid(jnp.arange(4.0), jnp.arange(4.0), indexing="ij")
        where = [rows + shift[0], columns + shift[1]]
        moved = jax.scipy.ndimage.map_coordinates(image, where, order=1, mode="nearest")
        return mlp(params["head"], moved.ravel())

    return ZooModel(jax.vmap(single, in_axes=(None, 0)), params, normal(5, 4, 4))


@entry(MODELS, "gradients inside")
def _gradient_inside():
    """The force of a learnt energy: a model that takes a derivative itself."""
    params = {"energy": layers(3, 6, 1), "stiffness": jnp.asarray(0.7)}

    def energy(params, x):
        return mlp(params["energy"], x)[0] + params["stiffness"] * jnp.sum(x**2)

    def apply_fn(params, x):
        return -jax.vmap(jax.grad(energy, argnums=1), in_axes=(None, 0))(params, x)

    # a bias of the energy is no force
    return ZooModel(apply_fn, params, normal(5, 3), idle=("['energy'][1][1]",))


@entry(MODELS, "compiled inside, rematerialised")
def _compiled():
    @jax.jit
    def block(pair, x):
        return jax.checkpoint(lambda w, b, x: x + jax.nn.swish(x @ w + b))(*pair, x)

    def apply_fn(params, x):
        for pair in params[:-1]:
            x = block(pair, x)
        w, b = params[-1]
        return x @ w + b

    return ZooModel(apply_fn, layers(4, 4, 4, 3), normal(5, 4))
