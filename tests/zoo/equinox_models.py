"""Networks in Equinox: modules that are trees, written for one example and mapped over a batch."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from tests.zoo.model import Make, ZooModel, drawn, entry, integers, normal

MODELS: dict[str, Make] = {}


def mapped(model: Any, x: Any, **fields: Any) -> ZooModel:
    """Parts the arrays of a module from what is static, and maps it over a batch."""
    params, static = eqx.partition(model, eqx.is_array)

    def apply_fn(params, x):
        return jax.vmap(eqx.combine(params, static))(x)

    return ZooModel(apply_fn, drawn(params), x, **fields)


@entry(MODELS, "equinox mlp")
def _mlp():
    mlp = eqx.nn.MLP(5, 3, 8, 2, activation=jax.nn.softplus, key=jax.random.key(0))
    return mapped(mlp, normal(5, 5))


@entry(MODELS, "equinox mlp, scalar")
def _scalar():
    mlp = eqx.nn.MLP("scalar", "scalar", 6, 1, activation=jnp.sin, key=jax.random.key(0))
    return mapped(mlp, normal(6))


class CNN(eqx.Module):
    layers: list

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.layers = [
            eqx.nn.Conv2d(2, 4, kernel_size=3, padding=1, key=keys[0]),
            eqx.nn.GroupNorm(2, 4),
            eqx.nn.MaxPool2d(kernel_size=2, stride=2),
            jax.nn.relu,
            eqx.nn.Conv2d(4, 4, kernel_size=3, groups=2, key=keys[1]),
            eqx.nn.PReLU(0.2),
            jnp.ravel,
            eqx.nn.Linear(16, 3, key=keys[2]),
            jax.nn.log_softmax,
        ]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@entry(MODELS, "equinox cnn, channels first")
def _cnn():
    return mapped(CNN(jax.random.key(0)), normal(5, 2, 8, 8))


class Attention(eqx.Module):
    embedding: eqx.nn.Embedding
    rope: eqx.nn.RotaryPositionalEmbedding
    attention: eqx.nn.MultiheadAttention
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.embedding = eqx.nn.Embedding(8, 6, key=keys[0])
        self.rope = eqx.nn.RotaryPositionalEmbedding(4)
        self.attention = eqx.nn.MultiheadAttention(
            2, 6, qk_size=4, use_query_bias=True, use_output_bias=True, key=keys[1]
        )
        self.norm = eqx.nn.LayerNorm(6)
        self.head = eqx.nn.Linear(6, 3, key=keys[2])

    def __call__(self, tokens):
        x = jax.vmap(self.embedding)(tokens)

        def rotated(queries, keys, values):
            rotate = jax.vmap(self.rope, in_axes=1, out_axes=1)
            return rotate(queries), rotate(keys), values

        mask = jnp.tril(jnp.ones((len(tokens), len(tokens)), bool))
        x = x + self.attention(x, x, x, mask=mask, process_heads=rotated)
        return self.head(jax.vmap(self.norm)(x).mean(axis=0))


@entry(MODELS, "equinox attention, rotary positions")
def _attention():
    return mapped(Attention(jax.random.key(0)), integers(8, 4, 5))


class GRU(eqx.Module):
    cell: eqx.nn.GRUCell
    linear: eqx.nn.Linear
    bias: jax.Array

    def __init__(self, key):
        ckey, lkey = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(3, 5, key=ckey)
        self.linear = eqx.nn.Linear(5, 2, use_bias=False, key=lkey)
        self.bias = jnp.zeros(2)

    def __call__(self, x):
        hidden = jnp.zeros((self.cell.hidden_size,), x.dtype)
        out, _ = jax.lax.scan(lambda carry, x: (self.cell(x, carry), None), hidden, x)
        return self.linear(out) + self.bias


@entry(MODELS, "equinox gru, scan")
def _gru():
    return mapped(GRU(jax.random.key(0)), normal(4, 5, 3))


class Tower(eqx.Module):
    """Layers that are made by ``eqx.filter_vmap`` and scanned, the last tied to the first."""

    embed: eqx.nn.Linear
    blocks: eqx.nn.Linear

    def __init__(self, key):
        ekey, bkey = jax.random.split(key)
        self.embed = eqx.nn.Linear(4, 5, key=ekey)
        make = eqx.filter_vmap(lambda key: eqx.nn.Linear(5, 5, key=key))
        self.blocks = make(jax.random.split(bkey, 3))

    def __call__(self, x):
        dynamic, static = eqx.partition(self.blocks, eqx.is_array)

        def body(x, block):
            return x + jnp.tanh(eqx.combine(block, static)(x)), None

        x, _ = jax.lax.scan(jax.checkpoint(body), self.embed(x), dynamic)
        return self.embed.weight.T @ x


@entry(MODELS, "equinox scan over layers, tied ends")
def _tower():
    return mapped(Tower(jax.random.key(0)), normal(5, 4))


@entry(MODELS, "equinox batch norm, evaluated")
def _batch_norm():
    keys = jax.random.split(jax.random.key(0))
    net = eqx.nn.Sequential([
        eqx.nn.Linear(4, 5, key=keys[0]),
        eqx.nn.BatchNorm(5, axis_name="batch", mode="ema"),
        eqx.nn.Lambda(jnp.tanh),
        eqx.nn.Linear(5, 3, key=keys[1]),
    ])
    state = eqx.nn.State(net)
    net = eqx.nn.inference_mode(eqx.nn.delete_init_state(net))
    params, static = eqx.partition(net, eqx.is_inexact_array)

    def apply_fn(params, x, state):
        model = eqx.combine(params, static)
        return jax.vmap(lambda x: model(x, state)[0], axis_name="batch")(x)

    return ZooModel(apply_fn, drawn(params), normal(5, 4), drawn(state, seed=2))
