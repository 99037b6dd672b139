"""Networks for text and time series in Linen or JAX: recurrent, causal, tied to an embedding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.zoo.linen import linen
from tests.zoo.model import Make, ZooModel, entry, integers, normal, side_of

MODELS: dict[str, Make] = {}
WIDE = {"param_dtype": jnp.float64}  # what a cell starts with has this type


class Recurrent(nn.Module):
    cell: nn.Module
    bidirectional: bool = False

    @nn.compact
    def __call__(self, x):
        if self.bidirectional:
            x = nn.Bidirectional(nn.RNN(self.cell), nn.RNN(self.cell.copy(name="backward")))(x)
            return nn.Dense(2)(x.mean(axis=1))
        return nn.Dense(2)(nn.RNN(self.cell)(x)[:, -1])


@entry(MODELS, "linen lstm")
def _lstm():
    return linen(Recurrent(nn.LSTMCell(4, **WIDE)), normal(4, 5, 3))


@entry(MODELS, "linen optimised lstm, stacked")
def _optimised_lstm():
    class Stacked(nn.Module):
        @nn.compact
        def __call__(self, x):
            for features in (4, 3):
                x = nn.RNN(nn.OptimizedLSTMCell(features, **WIDE))(x)
            return nn.Dense(2)(x)

    return linen(Stacked(), normal(4, 3, 3))


@entry(MODELS, "linen gru")
def _gru():
    return linen(Recurrent(nn.GRUCell(4, **WIDE)), normal(4, 5, 3))


@entry(MODELS, "linen gru, both ways")
def _bidirectional():
    return linen(Recurrent(nn.GRUCell(3, **WIDE), bidirectional=True), normal(4, 4, 3))


@entry(MODELS, "linen gru, lengths")
def _lengths():
    class Padded(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            rnn = nn.RNN(nn.GRUCell(4, **WIDE), return_carry=True)
            carry, _ = rnn(inputs["x"], seq_lengths=inputs["lengths"])
            return nn.Dense(2)(carry)

    lengths = jnp.asarray([5, 2, 4, 1], jnp.int32)
    return linen(Padded(), {"x": normal(4, 5, 3), "lengths": lengths})


@entry(MODELS, "linen convolutional lstm")
def _conv_lstm():
    class Video(nn.Module):
        @nn.compact
        def __call__(self, frames):
            x = nn.RNN(nn.ConvLSTMCell(2, (3, 3), **WIDE))(frames)
            return nn.Dense(2)(x[:, -1].mean(axis=(1, 2)))

    return linen(Video(), normal(4, 3, 4, 4, 1))


@entry(MODELS, "rnn by scan, learnt start")
def _rnn():
    params = {
        "start": normal(4, seed=1),
        "in": {"kernel": normal(3, 4, seed=2, scale=0.5)},
        "hidden": {"kernel": normal(4, 4, seed=3, scale=0.5), "bias": normal(4, seed=4)},
        "out": {"kernel": normal(4, 2, seed=5), "bias": normal(2, seed=6)},
    }

    def apply_fn(params, x):
        def step(h, x_t):
            z = x_t @ params["in"]["kernel"] + h @ params["hidden"]["kernel"]
            h = jnp.tanh(z + params["hidden"]["bias"])
            return h, h

        start = jnp.broadcast_to(params["start"], (x.shape[0], 4))
        _, hs = jax.lax.scan(step, start, x.transpose(1, 0, 2))
        return hs.mean(axis=0) @ params["out"]["kernel"] + params["out"]["bias"]

    return ZooModel(apply_fn, params, normal(5, 6, 3))


@entry(MODELS, "rnn that generates, outputs fed back")
def _generating():
    params = {"w": normal(3, 3, seed=1), "u": normal(3, 3, seed=2), "b": normal(3, seed=3)}

    def apply_fn(params, x):
        def step(carry, _):
            h, y = carry
            h = jnp.tanh(h @ params["w"] + y @ params["u"] + params["b"])
            y = jax.nn.softmax(h @ params["u"].T)
            return (h, y), y

        _, ys = jax.lax.scan(step, (x, jnp.zeros_like(x)), None, length=3, unroll=2)
        return jnp.moveaxis(ys, 0, 1)

    return ZooModel(apply_fn, params, normal(4, 3))


class WaveNet(nn.Module):
    """Gated causal convolutions with growing dilation, and skips that are summed."""

    channels: int = 8

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.channels)(x)
        skips = 0.0
        for dilation in (1, 2, 4):
            both = nn.Conv(2 * self.channels, (2,), kernel_dilation=dilation, padding="CAUSAL")(x)
            filtered, gate = jnp.split(both, 2, axis=-1)
            y = jnp.tanh(filtered) * nn.sigmoid(gate)
            skips = skips + nn.Conv(self.channels, (1,))(y)
            x = x + nn.Conv(self.channels, (1,))(y)
        return nn.Dense(2)(nn.relu(skips))[:, -1]


@entry(MODELS, "linen wavenet")
def _wavenet(times=1):
    # The last sum of what comes in and what comes out is not looked at.
    return linen(WaveNet(8 * times), normal(5, side_of(9, times), 1), idle=("['Conv_8']",))


class TokenClassifier(nn.Module):
    words: int

    @nn.compact
    def __call__(self, tokens):
        padding = tokens == 0
        x = nn.Embed(self.words, 5)(tokens)
        x = nn.relu(nn.Dense(6)(x))
        count = jnp.sum(~padding, axis=1, keepdims=True)
        x = jnp.where(padding[..., None], 0.0, x).sum(axis=1) / count
        return nn.Dense(3)(x)


@entry(MODELS, "linen token classifier, padding")
def _tokens():
    tokens = np.array([[3, 1, 4, 1, 5], [2, 6, 5, 0, 0], [3, 5, 0, 0, 0], [1, 2, 3, 4, 5]])
    return linen(TokenClassifier(8), jnp.asarray(tokens, jnp.int32))


class CausalBlock(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x, mask):
        y = nn.LayerNorm(use_bias=False)(x)
        x = x + nn.MultiHeadDotProductAttention(2, use_bias=False)(y, mask=mask)
        y = nn.RMSNorm()(x)
        gate = nn.silu(nn.Dense(self.hidden, use_bias=False)(y))
        y = gate * nn.Dense(self.hidden, use_bias=False)(y)
        return x + nn.Dense(x.shape[-1], use_bias=False)(y)


class LanguageModel(nn.Module):
    """A causal transformer whose output layer is its embedding."""

    words: int
    width: int = 8

    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(self.words, self.width)
        positions = nn.Embed(tokens.shape[1], self.width, name="positions")
        x = embed(tokens) + positions(jnp.arange(tokens.shape[1]))
        mask = nn.make_causal_mask(tokens, dtype=bool)
        for _ in range(2):
            x = CausalBlock(3 * self.width // 2)(x, mask)
        return embed.attend(nn.LayerNorm()(x))


@entry(MODELS, "linen language model, tied")
def _language_model(times=1):
    words = 11 * times
    return linen(LanguageModel(words, 8 * times), integers(words, 4, side_of(5, times)))


@entry(MODELS, "alibi")
def _alibi():
    d, heads, t = 4, 2, 5
    params = {
        "qkv": normal(3, d, heads, 3, seed=1, scale=0.6),
        "out": normal(heads, 3, d, seed=2, scale=0.6),
        "table": normal(t, heads, seed=3),
    }
    back = np.maximum(np.arange(t)[:, None] - np.arange(t)[None], 0)
    slopes = 2.0 ** -np.arange(1, heads + 1)

    def apply_fn(params, x):
        q, k, v = jnp.einsum("btd,cdhk->cbhtk", x, params["qkv"])
        logits = jnp.einsum("bhqk,bhsk->bhqs", q, k) / np.sqrt(3)
        logits = logits - slopes[:, None, None] * back
        # learnt, one for each distance and head, as in T5
        logits = logits + jnp.take(params["table"], back, axis=0).transpose(2, 0, 1)
        logits = jnp.where(np.tril(np.ones((t, t), bool)), logits, -jnp.inf)
        mixed = jax.nn.softmax(logits, axis=-1) @ v
        return jnp.einsum("bhtk,hkd->btd", mixed, params["out"]).mean(axis=1)

    return ZooModel(apply_fn, params, normal(4, t, d))


@entry(MODELS, "rotary positions, grouped queries")
def _rotary():
    params = {
        "embed": normal(9, 6, seed=1),
        "q": normal(6, 2, 2, 4, seed=2, scale=0.5),
        "k": normal(6, 2, 4, seed=3, scale=0.5),
        "v": normal(6, 2, 4, seed=4, scale=0.5),
        "o": normal(2, 2, 4, 6, seed=5, scale=0.3),
        "unembed": normal(6, 3, seed=6),
    }

    def rotate(x):
        half = x.shape[-1] // 2
        angles = jnp.arange(x.shape[1])[:, None] / 10.0 ** jnp.arange(half)
        angles = jnp.expand_dims(angles, tuple(range(1, x.ndim - 2)))
        first, second = x[..., :half], x[..., half:]
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    def apply_fn(params, tokens):
        x = params["embed"][tokens]
        q = rotate(jnp.einsum("btd,dgrk->btgrk", x, params["q"]))
        k = rotate(jnp.einsum("btd,dgk->btgk", x, params["k"]))
        v = jnp.einsum("btd,dgk->btgk", x, params["v"])
        weights = jax.nn.softmax(jnp.einsum("btgrk,bsgk->bgrts", q, k) / 2)
        x = x + jnp.einsum("bgrts,bsgk,grkd->btd", weights, v, params["o"])
        return x[:, -1] @ params["unembed"]

    return ZooModel(apply_fn, params, integers(9, 4, 5))


@entry(MODELS, "linear attention, cumulative sums")
def _linear_attention():
    params = [normal(4, 3, seed=seed, scale=0.5) for seed in (1, 2, 3)] + [normal(3, 2, seed=4)]

    def apply_fn(params, x):
        wq, wk, wv, wo = params
        q, k = (jax.nn.elu(x @ w) + 1 for w in (wq, wk))
        kv = jnp.cumsum(jnp.einsum("btk,btv->btkv", k, x @ wv), axis=1)
        norm = jnp.einsum("btk,btk->bt", q, jnp.cumsum(k, axis=1))
        return (jnp.einsum("btk,btkv->btv", q, kv) / norm[..., None] @ wo)[:, -1]

    return ZooModel(apply_fn, params, normal(4, 5, 4))


@entry(MODELS, "state space model, associative scan")
def _state_space():
    params = {
        "log_decay": normal(4, seed=1, scale=0.3),
        "b": normal(2, 4, seed=2),
        "c": normal(4, 3, seed=3),
        "d": normal(3, seed=4),
        "step": normal(2, 1, seed=5),
    }

    def apply_fn(params, x):
        step = jax.nn.softplus(x @ params["step"])
        decay = jnp.exp(-step * jnp.exp(params["log_decay"]))
        inputs = step * (x @ params["b"])

        def combine(left, right):
            return left[0] * right[0], right[0] * left[1] + right[1]

        _, h = jax.lax.associative_scan(combine, (decay, inputs), axis=1)
        return (h @ params["c"]).mean(axis=1) + params["d"]

    return ZooModel(apply_fn, params, normal(4, 6, 2))


@entry(MODELS, "delta rule, fast weights")
def _delta_rule():
    params = {"k": normal(3, 3, seed=1), "v": normal(3, 2, seed=2), "q": normal(3, 3, seed=3)}
    params |= {"rate": normal(3, seed=4), "start": normal(3, 2, seed=5)}

    def single(params, x):
        def step(memory, x_t):
            key = x_t @ params["k"]
            key = key / jnp.linalg.norm(key)
            error = x_t @ params["v"] - key @ memory
            memory = memory + jax.nn.sigmoid(x_t @ params["rate"]) * jnp.outer(key, error)
            return memory, (x_t @ params["q"]) @ memory

        return jax.lax.scan(step, params["start"], x)[1][-1]

    apply_fn = jax.vmap(single, in_axes=(None, 0))
    return ZooModel(apply_fn, params, normal(5, 4, 3))
