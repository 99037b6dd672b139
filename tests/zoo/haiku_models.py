"""Networks in Haiku: functions that ``hk.transform`` makes pure."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from tests.zoo.model import Make, ZooModel, drawn, entry, integers, is_floating, normal

MODELS: dict[str, Make] = {}


def transformed(forward: Callable[[Any], jax.Array], x: Any, **fields: Any) -> ZooModel:
    net = hk.without_apply_rng(hk.transform(forward))
    params = drawn(jax.eval_shape(net.init, jax.random.key(0), x))
    return ZooModel(net.apply, params, x, **fields)


@entry(MODELS, "haiku mlp")
def _mlp():
    return transformed(lambda x: hk.nets.MLP([8, 6, 3], activation=jnp.tanh)(x), normal(5, 4))


@entry(MODELS, "haiku cnn")
def _cnn():
    def forward(x):
        net = hk.Sequential([
            hk.Conv2D(4, 3, stride=2, padding="VALID"),
            jax.nn.relu,
            hk.DepthwiseConv2D(2, 2),
            hk.LayerNorm(axis=-1, create_scale=True, create_offset=True),
            hk.MaxPool((2, 2, 1), (1, 1, 1), "SAME"),
            hk.Flatten(),
            hk.Linear(3),
        ])
        return net(x)

    return transformed(forward, normal(5, 7, 7, 2))


@entry(MODELS, "haiku batch norm, evaluated")
def _batch_norm():
    def forward(x, is_training):
        for _ in range(2):
            x = hk.Conv2D(4, 3, with_bias=False)(x)
            x = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(x, is_training)
            x = jax.nn.relu(x)
        return hk.Linear(3)(x.mean(axis=(1, 2)))

    net = hk.without_apply_rng(hk.transform_with_state(forward))
    x = normal(5, 5, 5, 2)
    shapes = jax.eval_shape(lambda key, x: net.init(key, x, is_training=True), jax.random.key(0), x)
    params, state = drawn(shapes)
    # Variances are positive; what is left are the counters of the moving averages.
    state = jax.tree.map(
        lambda leaf: (
            jnp.abs(jnp.asarray(leaf)) if is_floating(leaf) else jnp.zeros(leaf.shape, leaf.dtype)
        ),
        state,
    )

    def apply_fn(params, x, state):
        return net.apply(params, state, x, is_training=False)[0]

    return ZooModel(apply_fn, params, x, state)


@entry(MODELS, "haiku lstm, time first")
def _lstm():
    def forward(x):
        core = hk.LSTM(4)
        out, _ = hk.dynamic_unroll(core, jnp.swapaxes(x, 0, 1), core.initial_state(len(x)))
        return hk.Linear(2)(out[-1])

    return transformed(forward, normal(4, 5, 3))


@entry(MODELS, "haiku resettable gru, learnt start")
def _gru():
    def forward(x):
        core = hk.GRU(4)
        start = core.initial_state(len(x))
        start += hk.get_parameter("start", (1, 4), init=jnp.zeros)
        out, _ = hk.static_unroll(core, x, start, time_major=False)
        return hk.BatchApply(hk.Linear(2))(out).mean(axis=1)

    return transformed(forward, normal(4, 3, 3))


@entry(MODELS, "haiku transformer, layer stack")
def _transformer():
    def block(x):
        y = hk.LayerNorm(axis=-1, create_scale=True, create_offset=True)(x)
        w_init = hk.initializers.VarianceScaling(1.0)
        x = x + hk.MultiHeadAttention(2, key_size=3, model_size=6, w_init=w_init)(y, y, y)
        return x + hk.Linear(6)(jax.nn.gelu(hk.Linear(8)(x)))

    def forward(tokens):
        x = hk.Embed(7, 6)(tokens)
        x = x + hk.get_parameter("positions", (*tokens.shape[1:], 6), init=jnp.zeros)
        x = hk.experimental.layer_stack(2)(block)(x)
        return hk.Linear(3)(x.mean(axis=1))

    # It moves all logits of a query alike, which the softmax does not see.
    idle = ("['__layer_stack_no_per_layer/multi_head_attention/key']['b']",)
    return transformed(forward, integers(7, 4, 5), idle=idle)
