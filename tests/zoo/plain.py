"""Models in plain JAX: odd trees, odd weights, and odd ways to use weights."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from tests.zoo.model import Make, ZooModel, entry, normal

MODELS: dict[str, Make] = {}


def layers(*widths, seed=1):
    """Pairs of weights and biases."""
    return [
        (normal(a, b, seed=seed + at, scale=a**-0.5), normal(b, seed=seed + 100 + at, scale=0.5))
        for at, (a, b) in enumerate(pairwise(widths))
    ]


def mlp(params, x, activation=jnp.tanh):
    *hidden, (w, b) = params
    for weight, bias in hidden:
        x = activation(x @ weight + bias)
    return x @ w + b


# Trees.


@entry(MODELS, "list of pairs")
def _pairs():
    return ZooModel(mlp, layers(4, 7, 6, 3), normal(5, 4))


@entry(MODELS, "one array")
def _one_array():
    return ZooModel(lambda w, x: jnp.tanh(x @ w) @ w.T, normal(4, 3, seed=1), normal(5, 4))


@entry(MODELS, "one flat vector")
def _flat():
    flat, unravel = ravel_pytree(layers(4, 6, 3))
    return ZooModel(lambda flat, x: mlp(unravel(flat), x), flat, normal(5, 4))


@entry(MODELS, "numbers, integers and None among the parameters")
def _mixed():
    (w0, b0), (w1, b1), (w2, b2) = layers(4, 5, 5, 2)
    params = {
        "version": 3,
        "blocks": [
            {"w": np.asarray(w0), "b": b0, "norm": None, "steps": jnp.asarray(2, jnp.int32)},
            {"w": w1, "b": b1, "norm": (0.7, None), "use": np.array([True, False] * 2 + [True])},
        ],
        "head": (w2, [b2, None]),
        "gain": 1.3,
    }

    def apply_fn(params, x):
        for block in params["blocks"]:
            x = x @ block["w"] + block["b"]
            if block["norm"] is not None:
                x = x * block["norm"][0]
            if "use" in block:
                x = jnp.where(block["use"], x, jnp.sin(x))
            else:
                x = jnp.where(block["steps"] > 1, jnp.tanh(x), x)
        w, (b, _) = params["head"]
        return params["gain"] * (x @ w + b) + params["version"]

    return ZooModel(apply_fn, params, normal(5, 4))


# Types.


@entry(MODELS, "bfloat16 parameters")
def _bfloat16():
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), layers(4, 8, 3))

    def apply_fn(params, x):
        return mlp(jax.tree.map(lambda leaf: leaf.astype(x.dtype), params), x)

    # The derivative of a bfloat16 parameter may be rounded to bfloat16, which has eight bits.
    return ZooModel(apply_fn, params, normal(5, 4), tolerance=5e-3)


@entry(MODELS, "frozen backbone")
def _frozen():
    backbone, head = layers(4, 6, 5), layers(5, 3, seed=9)

    def apply_fn(params, x):
        features = jnp.tanh(mlp(jax.lax.stop_gradient(params["backbone"]), x))
        return mlp(params["head"], features)

    params = {"backbone": backbone, "head": head}
    return ZooModel(apply_fn, params, normal(5, 4), idle=("['backbone']",))


# Weights that are made of parameters.


@entry(MODELS, "pruned weights")
def _pruned():
    params = layers(5, 8, 3)
    masks = [np.random.default_rng(3).random(w.shape) < 0.4 for w, _ in params]

    def apply_fn(params, x):
        return mlp([(w * mask, b) for (w, b), mask in zip(params, masks, strict=True)], x)

    return ZooModel(apply_fn, params, normal(5, 5))


@entry(MODELS, "ntk parametrisation")
def _ntk():
    params = [(normal(a, b, seed=a), normal(b, seed=b)) for a, b in ((4, 9), (9, 8), (8, 3))]

    def apply_fn(params, x, w_std=1.5, b_std=0.1):
        for at, (w, b) in enumerate(params):
            x = w_std / np.sqrt(w.shape[0]) * (x @ w) + b_std * b
            x = jnp.maximum(x, 0) * np.sqrt(2) if at < len(params) - 1 else x
        return x

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "gained weights")
def _gained():
    params = {"w": [normal(4, 6, seed=1), normal(6, 3, seed=2)], "gain": [jnp.asarray(1.2), 0.8]}

    def apply_fn(params, x):
        first, second = (
            w * (1 / jnp.sqrt(w.shape[0])) * gain
            for w, gain in zip(params["w"], params["gain"], strict=True)
        )
        return jax.nn.gelu(x @ first) @ second

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "lora")
def _lora():
    base, rank = layers(5, 6, 3), 2
    params = [
        {"w": w, "bias": b, "a": normal(len(w), rank, seed=7), "b": normal(rank, len(b), seed=8)}
        for w, b in base
    ]

    def apply_fn(params, x, scale=0.5):
        return mlp([(p["w"] + scale * p["a"] @ p["b"], p["bias"]) for p in params], x)

    return ZooModel(apply_fn, params, normal(5, 5))


@entry(MODELS, "low rank")
def _low_rank():
    params = [(normal(5, 2, seed=1), normal(2, 6, seed=2)), (normal(6, 1, seed=3), normal(1, 3))]

    def apply_fn(params, x):
        (a, b), (c, d) = params
        return (jax.nn.relu(x @ a @ b) @ c) @ d

    return ZooModel(apply_fn, params, normal(5, 5))


@entry(MODELS, "weight standardisation")
def _standardised():
    params = {"conv": normal(3, 3, 2, 5, seed=1), "gain": normal(5, seed=2), "head": normal(5, 3)}

    def apply_fn(params, x):
        w = params["conv"]
        mean = w.mean(axis=(0, 1, 2), keepdims=True)
        variance = w.var(axis=(0, 1, 2), keepdims=True)
        w = (w - mean) / jnp.sqrt(variance * w[..., 0].size + 1e-4) * params["gain"]
        x = jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.nn.relu(x).mean(axis=(1, 2)) @ params["head"]

    return ZooModel(apply_fn, params, normal(5, 5, 5, 2))


@entry(MODELS, "hypernetwork")
def _hypernetwork():
    params = {"codes": normal(2, 3, seed=1), "hyper": layers(3, 5, 4 * 4 + 4), "head": normal(4, 2)}

    def apply_fn(params, x):
        made = mlp(params["hyper"], params["codes"])
        for weights in made:
            x = jnp.tanh(x @ weights[:16].reshape(4, 4) + weights[16:])
        return x @ params["head"]

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "hypernetwork, weights of each example")
def _own_weights():
    params = {"hyper": layers(2, 5, 3 * 4), "head": normal(4, 3)}

    def apply_fn(params, x):
        weights = mlp(params["hyper"], x["context"]).reshape(-1, 3, 4)
        return jnp.tanh(jnp.einsum("ni,nij->nj", x["x"], weights)) @ params["head"]

    return ZooModel(apply_fn, params, {"x": normal(5, 3), "context": normal(5, 2, seed=2)})


@entry(MODELS, "weights under constraints")
def _constraints():
    params = {
        "triangle": normal(4, 4, seed=1),
        "skew": normal(4, 4, seed=2, scale=0.4),
        "symmetric": normal(4, 4, seed=3, scale=0.4),
        "ring": normal(4, seed=4),
        "positive": normal(4, 3, seed=5),
    }
    ring = (np.arange(4)[:, None] - np.arange(4)) % 4

    def apply_fn(params, x):
        x = jnp.tanh(x @ jnp.tril(params["triangle"]))
        skew = params["skew"] - params["skew"].T
        eye = jnp.eye(4)
        x = x @ jnp.linalg.solve(eye + skew, eye - skew)
        x = jnp.tanh(x @ (params["symmetric"] + params["symmetric"].T))
        x = jnp.tanh(x @ params["ring"][ring])
        return x @ jax.nn.softplus(params["positive"])

    return ZooModel(apply_fn, params, normal(5, 4))


@entry(MODELS, "straight-through binary weights")
def _binary():
    @jax.custom_vjp
    def binary(w):
        return jnp.sign(w)

    binary.defvjp(lambda w: (jnp.sign(w), w), lambda w, g: (jnp.where(jnp.abs(w) < 1, g, 0.0),))

    def quantised(w):
        return w + jax.lax.stop_gradient(jnp.round(w * 4) / 4 - w)

    def apply_fn(params, x):
        (w0, b0), (w1, b1) = params
        return jnp.tanh(x @ binary(w0) + b0) @ quantised(w1) + b1

    return ZooModel(apply_fn, layers(4, 6, 3), normal(5, 4))


@entry(MODELS, "fused and stacked weights")
def _fused():
    params = {"q": normal(4, 4, seed=1), "k": normal(4, 4, seed=2), "v": normal(4, 4, seed=3)}
    params |= {"bias": normal(3, 4, seed=4), "head": normal(4, 2, seed=5)}

    def apply_fn(params, x):
        fused = jnp.concatenate([params["q"], params["k"], params["v"]], axis=1)
        q, k, v = jnp.split(x @ fused + params["bias"].reshape(-1), 3, axis=-1)
        mixed = jax.nn.softmax(q @ k.swapaxes(1, 2) / 2) @ v
        stacked = jnp.stack([params["q"], params["v"]])
        mixed = mixed + jnp.einsum("btd,ldk->btk", mixed, stacked)
        return mixed[:, 0] @ params["head"]

    # The bias of the keys moves all logits of a query alike, and the softmax does not see it; it
    # is one row of a parameter whose other rows matter.
    return ZooModel(apply_fn, params, normal(4, 3, 4))


# Ways to use weights.


@entry(MODELS, "attention by einsum")
def _attention():
    params = {
        "q": normal(2, 4, 3, seed=1, scale=0.5),
        "k": normal(2, 4, 3, seed=2, scale=0.5),
        "v": normal(2, 4, 3, seed=3, scale=0.5),
        "o": normal(2, 3, 4, seed=4, scale=0.5),
        "head": normal(4, 3, seed=5),
    }

    def apply_fn(params, x):
        q, k, v = (jnp.einsum("btd,hdk->bhtk", x, params[name]) for name in "qkv")
        weights = jax.nn.softmax(jnp.einsum("bhqk,bhsk->bhqs", q, k) / jnp.sqrt(3.0), axis=-1)
        mixed = jnp.einsum("bhqs,bhsk->bqhk", weights, v)
        x = x + jnp.einsum("bqhk,hkd->bqd", mixed, params["o"])
        return x.mean(axis=1) @ params["head"]

    return ZooModel(apply_fn, params, normal(4, 5, 4))


@entry(MODELS, "mixture of experts, soft gate")
def _soft_experts():
    params = {"gate": normal(4, 3, seed=1), "w": normal(3, 4, 5, seed=2), "b": normal(3, 5, seed=3)}
    params["head"] = normal(5, 2, seed=4)

    def apply_fn(params, x):
        gate = jax.nn.softmax(x @ params["gate"])
        experts = jax.nn.relu(jnp.einsum("nd,edk->enk", x, params["w"]) + params["b"][:, None])
        return jnp.einsum("ne,enk->nk", gate, experts) @ params["head"]

    return ZooModel(apply_fn, params, normal(6, 4))


@entry(MODELS, "mixture of experts, top-1 gathered")
def _top_expert():
    params = {"gate": normal(4, 3, seed=1), "w": normal(3, 4, 5, seed=2), "b": normal(3, 5, seed=3)}
    params["head"] = normal(5, 2, seed=4)

    def apply_fn(params, x):
        gate = jax.nn.softmax(x @ params["gate"])
        index = jnp.argmax(gate, axis=-1)
        y = jnp.einsum("nd,ndk->nk", x, params["w"][index]) + params["b"][index]
        chosen = jnp.take_along_axis(gate, index[:, None], axis=-1)
        return chosen * jax.nn.relu(y) @ params["head"]

    return ZooModel(apply_fn, params, normal(6, 4))


@entry(MODELS, "mixture of experts, top-2 of tokens")
def _two_experts():
    params = {"gate": normal(3, 4, seed=1), "w": normal(4, 3, 3, seed=2), "head": normal(3, 2)}

    def apply_fn(params, x):
        logits = x @ params["gate"]
        top, index = jax.lax.top_k(logits, 2)
        chosen = jax.nn.one_hot(index, 4, dtype=x.dtype) * jax.nn.softmax(top)[..., None]
        routed = jnp.einsum("btke,btd,edf->btf", chosen, x, params["w"])
        return (x + jnp.tanh(routed)).mean(axis=1) @ params["head"]

    return ZooModel(apply_fn, params, normal(4, 3, 3))


@entry(MODELS, "polynomials on the edges")
def _kan():
    params = [normal(3, 4, 4, seed=1, scale=0.4), normal(4, 2, 4, seed=2, scale=0.4)]

    def apply_fn(params, x):
        for coefficients in params:
            x = jnp.tanh(x)
            powers = jnp.stack([x**k for k in range(coefficients.shape[-1])], axis=-1)
            x = jnp.einsum("nik,iok->no", powers, coefficients)
        return x

    return ZooModel(apply_fn, params, normal(5, 3))


@entry(MODELS, "bilinear")
def _bilinear():
    params = {"w": normal(3, 4, 3, seed=1), "b": normal(3, seed=2), "u": normal(4, 3, seed=3)}

    def apply_fn(params, x):
        left, right = x
        z = jnp.einsum("ni,koi,nk->no", left, params["w"].transpose(2, 1, 0), right)
        return jnp.tanh(z) @ params["u"] + params["b"]

    return ZooModel(apply_fn, params, (normal(5, 3), normal(5, 3, seed=2)))
