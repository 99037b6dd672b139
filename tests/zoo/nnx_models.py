"""Networks in Flax NNX: parameters and state as ``nnx.split`` gives them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from tests.zoo.model import Make, ZooModel, drawn, entry, integers, normal

MODELS: dict[str, Make] = {}


def split(net: nnx.Module, x: Any, *, copy: bool = False, **fields: Any) -> ZooModel:
    """Switches a network to evaluation and parts its parameters from its state.

    Layers that change a counter or scan over modules want ``copy``, for they may do so only to what
    was made in the trace that calls them.
    """
    net.eval()
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    params, rest = drawn(params), drawn(rest, seed=2)
    if not jax.tree.leaves(rest):
        return ZooModel(lambda p, x: nnx.merge(graph, p, rest, copy=copy)(x), params, x, **fields)
    return ZooModel(
        lambda p, x, rest: nnx.merge(graph, p, rest, copy=copy)(x), params, x, rest, **fields
    )


class MLP(nnx.Module):
    def __init__(self, din, dmid, dout, *, rngs):
        self.linear1 = nnx.Linear(din, dmid, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.norm = nnx.LayerNorm(dmid, rngs=rngs)
        self.linear2 = nnx.Linear(dmid, dout, rngs=rngs)

    def __call__(self, x):
        return self.linear2(nnx.gelu(self.dropout(self.norm(self.linear1(x)))))


@entry(MODELS, "nnx mlp, dropout off")
def _mlp():
    return split(MLP(5, 8, 3, rngs=nnx.Rngs(0)), normal(5, 5))


class CNN(nnx.Module):
    def __init__(self, *, rngs):
        self.conv1 = nnx.Conv(2, 4, kernel_size=(3, 3), strides=2, use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(4, rngs=rngs)
        self.conv2 = nnx.Conv(4, 6, kernel_size=(3, 3), feature_group_count=2, rngs=rngs)
        self.norm2 = nnx.GroupNorm(6, num_groups=3, rngs=rngs)
        self.head = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.avg_pool(nnx.relu(self.norm2(self.conv2(x))), (2, 2), strides=(2, 2))
        return self.head(x.mean(axis=(1, 2)))


@entry(MODELS, "nnx cnn, batch norm evaluated")
def _cnn():
    return split(CNN(rngs=nnx.Rngs(0)), normal(5, 8, 8, 2))


class Transformer(nnx.Module):
    def __init__(self, words, width, *, rngs):
        self.embed = nnx.Embed(words, width, param_dtype=jnp.float64, rngs=rngs)
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (6, width)))
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            2, width, qkv_features=4, decode=False, param_dtype=jnp.float64, rngs=rngs
        )
        self.feed = nnx.Sequential(
            nnx.LayerNorm(width, rngs=rngs),
            nnx.Linear(width, 2 * width, rngs=rngs),
            nnx.silu,
            nnx.Linear(2 * width, width, rngs=rngs),
        )
        self.head = nnx.LinearGeneral((6, width), 3, axis=(-2, -1), rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens) + self.positions[...]
        x = x + self.attention(self.norm(x), mask=nnx.make_causal_mask(tokens))
        return self.head(x + self.feed(x))


@entry(MODELS, "nnx attention")
def _attention():
    return split(
        Transformer(7, 6, rngs=nnx.Rngs(0)),
        integers(7, 4, 6),
        # ``jax.nn.dot_product_attention`` takes its softmax in float32, whatever it is given.
        tolerance=1e-6,
        # It moves all logits of a query alike, which the softmax does not see.
        idle=("['attention']['key']['bias']",),
    )


class Recurrent(nnx.Module):
    def __init__(self, cell, hidden, *, rngs):
        self.rnn = nnx.RNN(cell)
        self.head = nnx.Linear(hidden, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.rnn(x)[:, -1])


@entry(MODELS, "nnx lstm")
def _lstm():
    rngs = nnx.Rngs(0)
    cell = nnx.LSTMCell(3, 5, param_dtype=jnp.float64, rngs=rngs)
    return split(Recurrent(cell, 5, rngs=rngs), normal(4, 5, 3), copy=True)


@entry(MODELS, "nnx gru")
def _gru():
    rngs = nnx.Rngs(0)
    cell = nnx.GRUCell(3, 5, param_dtype=jnp.float64, rngs=rngs)
    return split(Recurrent(cell, 5, rngs=rngs), normal(4, 5, 3), copy=True)


class Adapted(nnx.Module):
    """A layer with a low-rank adapter, of which only the adapter is trained."""

    def __init__(self, *, rngs):
        self.first = nnx.LoRALinear(4, 6, lora_rank=2, rngs=rngs)
        self.second = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


@entry(MODELS, "nnx lora, adapter alone")
def _lora():
    graph, params, rest = nnx.split(Adapted(rngs=nnx.Rngs(0)), nnx.LoRAParam, ...)
    params, rest = drawn(params), drawn(rest, seed=2)
    return ZooModel(lambda p, x, rest: nnx.merge(graph, p, rest)(x), params, normal(5, 4), rest)


class Block(nnx.Module):
    def __init__(self, width, *, rngs):
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.linear = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x):
        return x + jnp.tanh(self.linear(self.norm(x)))


class Stacked(nnx.Module):
    """Blocks that are made by ``nnx.vmap`` and called by ``nnx.scan``."""

    def __init__(self, width, depth, *, rngs):
        @nnx.split_rngs(splits=depth)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def blocks(rngs):
            return Block(width, rngs=rngs)

        self.blocks = blocks(rngs)
        self.head = nnx.Linear(width, 2, rngs=rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def forward(x, block):
            return block(x)

        return self.head(forward(x, self.blocks))


@entry(MODELS, "nnx scan over layers")
def _stacked():
    return split(Stacked(5, 3, rngs=nnx.Rngs(0)), normal(5, 5), copy=True)
