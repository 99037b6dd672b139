"""Networks in Flax Linen that have a name, from perceptrons to U-Nets."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.zoo.model import Make, ZooModel, drawn, entry, normal, side_of

MODELS: dict[str, Make] = {}


def linen(module: nn.Module, x: Any, **fields: Any) -> ZooModel:
    """Draws the variables of a module; those that are no parameters are its state."""
    variables = dict(drawn(jax.eval_shape(module.init, jax.random.key(0), x)))
    params = variables.pop("params")
    if not variables:
        return ZooModel(lambda p, x: module.apply({"params": p}, x), params, x, **fields)

    def apply_fn(params, x, state):
        return module.apply({"params": params, **state}, x)

    return ZooModel(apply_fn, params, x, variables, **fields)


class MLP(nn.Module):
    features: Sequence[int]

    @nn.compact
    def __call__(self, x):
        for width in self.features[:-1]:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.features[-1])(x)


@entry(MODELS, "linen mlp")
def _mlp():
    return linen(MLP([12, 10, 3]), normal(5, 7))


@entry(MODELS, "linen mlp, float32 parameters")
def _mlp_float32():
    model = linen(MLP([8, 3]), normal(5, 6))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), model.params)
    # The derivative of a float32 parameter may be rounded to float32.
    return model._replace(params=params, tolerance=1e-6)


class ResidualBlock(nn.Module):
    features: int
    strides: int = 1

    @nn.compact
    def __call__(self, x):
        def norm(x):
            return nn.BatchNorm(use_running_average=True, momentum=0.9)(x)

        residual = x
        y = nn.Conv(self.features, (3, 3), self.strides, use_bias=False)(x)
        y = nn.relu(norm(y))
        y = norm(nn.Conv(self.features, (3, 3), use_bias=False)(y))
        if residual.shape != y.shape:
            residual = nn.Conv(self.features, (1, 1), self.strides, use_bias=False)(residual)
            residual = norm(residual)
        return nn.relu(residual + y)


class ResNet(nn.Module):
    stages: Sequence[int]
    classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.stages[0], (3, 3), use_bias=False, name="stem")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        for stage, width in enumerate(self.stages):
            x = ResidualBlock(width, 2 if stage else 1)(x)
        return nn.Dense(self.classes)(x.mean(axis=(1, 2)))


@entry(MODELS, "linen resnet")
def _resnet(times=1):
    side = side_of(12, times)
    return linen(ResNet([6 * times, 10 * times], 4), normal(5, side, side, 3))


class ConvNeXtBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        y = nn.Conv(width, (5, 5), feature_group_count=width)(x)
        y = nn.LayerNorm(epsilon=1e-6)(y)
        y = nn.Dense(width)(nn.gelu(nn.Dense(4 * width)(y)))
        gamma = self.param("layer_scale", nn.initializers.constant(1e-6), (width,))
        return x + gamma * y


class ConvNeXt(nn.Module):
    times: int = 1

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.Conv(6 * self.times, (2, 2), strides=(2, 2))(x))
        x = ConvNeXtBlock()(x)
        x = nn.Conv(10 * self.times, (2, 2), strides=(2, 2))(nn.LayerNorm()(x))
        x = ConvNeXtBlock()(x)
        return nn.Dense(3)(nn.LayerNorm()(x.mean(axis=(1, 2))))


@entry(MODELS, "linen convnext")
def _convnext(times=1):
    side = side_of(8, times)
    return linen(ConvNeXt(times), normal(4, side, side, 3))


class MixerBlock(nn.Module):
    tokens: int
    channels: int

    @nn.compact
    def __call__(self, x):
        y = jnp.swapaxes(nn.LayerNorm()(x), 1, 2)
        y = nn.gelu(nn.Dense(self.tokens, name="tokens_in")(y))
        y = nn.Dense(x.shape[1], name="tokens_out")(y)
        x = x + jnp.swapaxes(y, 1, 2)
        y = nn.LayerNorm()(x)
        return x + nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(self.channels)(y)))


class Mixer(nn.Module):
    times: int = 1

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8 * self.times, (2, 2), strides=2, name="stem")(x)
        n, h, w, c = x.shape
        x = x.reshape(n, h * w, c)
        for _ in range(2):
            x = MixerBlock(6 * self.times, 20 * self.times)(x)
        return nn.Dense(3, name="head")(nn.LayerNorm()(x).mean(axis=1))


@entry(MODELS, "linen mlp-mixer")
def _mixer(times=1):
    # It is added to all channels of a token alike, and the norms over channels take it away.
    idle = tuple(f"['MixerBlock_{at}']['tokens_out']['bias']" for at in range(2))
    side = side_of(6, times)
    return linen(Mixer(times), normal(5, side, side, 3), idle=idle)


class SqueezeExcitation(nn.Module):
    reduced: int

    @nn.compact
    def __call__(self, x):
        gate = x.mean(axis=(1, 2), keepdims=True)
        gate = nn.swish(nn.Conv(self.reduced, (1, 1))(gate))
        return x * nn.sigmoid(nn.Conv(x.shape[-1], (1, 1))(gate))


class InvertedResidual(nn.Module):
    features: int
    expansion: int = 2
    strides: int = 1

    @nn.compact
    def __call__(self, x):
        hidden = x.shape[-1] * self.expansion
        y = nn.hard_swish(nn.Conv(hidden, (1, 1), use_bias=False)(x))
        y = nn.Conv(hidden, (3, 3), self.strides, feature_group_count=hidden, use_bias=False)(y)
        y = SqueezeExcitation(3)(nn.hard_swish(y))
        y = nn.Conv(self.features, (1, 1), use_bias=False)(y)
        return x + y if x.shape == y.shape else y


class MobileNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.hard_swish(nn.Conv(4, (3, 3), strides=2)(x))
        x = InvertedResidual(4)(x)
        x = InvertedResidual(6, strides=2)(x)
        return nn.Dense(3)(x.mean((1, 2)))


@entry(MODELS, "linen mobilenet, squeeze-excitation")
def _mobilenet():
    return linen(MobileNet(), normal(5, 8, 8, 3))


class EncoderBlock(nn.Module):
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x, _=None):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(self.heads)(y, y)
        y = nn.LayerNorm()(x)
        return x + nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(self.hidden)(y))), None


class ViT(nn.Module):
    scanned: bool
    width: int = 8
    depth: int = 2

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.width, (2, 2), strides=(2, 2), padding="VALID", name="patches")(x)
        x = x.reshape(len(x), -1, self.width)
        token = self.param("cls", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.tile(token, (len(x), 1, 1)), x], axis=1)
        x = x + self.param("positions", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        if self.scanned:
            block = nn.scan(
                nn.remat(EncoderBlock, prevent_cse=False),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=self.depth,
            )
            x, _ = block(2, 2 * self.width, name="encoder")(x, None)
        else:
            for at in range(self.depth):
                x, _ = EncoderBlock(2, 2 * self.width, name=f"encoder_{at}")(x)
        return nn.Dense(3, name="head")(nn.LayerNorm(name="norm")(x)[:, 0])


# It moves all logits of a query alike, which the softmax does not see.
KEY_BIAS = "['MultiHeadDotProductAttention_0']['key']['bias']"


@entry(MODELS, "linen vit, scanned")
def _vit_scanned(times=1):
    side = side_of(4, times)
    idle = ("['encoder']" + KEY_BIAS,)
    return linen(ViT(scanned=True, width=8 * times), normal(4, side, side, 3), idle=idle)


@entry(MODELS, "linen vit, unscanned")
def _vit_unscanned(times=1):
    side = side_of(4, times)
    idle = tuple(f"['encoder_{at}']" + KEY_BIAS for at in range(2))
    return linen(ViT(scanned=False, width=8 * times), normal(4, side, side, 3), idle=idle)


def window_positions(size):
    """The row of the bias table for each pair of pixels of a window, as Swin has it."""
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij")).reshape(2, -1)
    apart = grid[:, :, None] - grid[:, None, :] + size - 1
    return apart[0] * (2 * size - 1) + apart[1]


def shift_mask(height, width, size, shift):
    """Which pairs of pixels of a shifted window were neighbours before the shift."""
    regions = np.zeros((height, width), int)
    cuts = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
        regions[rows, columns] = number
    regions = regions.reshape(height // size, size, width // size, size)
    regions = regions.transpose(0, 2, 1, 3).reshape(-1, size * size)
    return regions[:, :, None] == regions[:, None, :]


class WindowAttention(nn.Module):
    heads: int
    size: int
    shift: int

    @nn.compact
    def __call__(self, x):
        n, height, width, channels = x.shape
        size = self.size
        if self.shift:
            x = jnp.roll(x, (-self.shift, -self.shift), axis=(1, 2))
        x = x.reshape(n, height // size, size, width // size, size, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, size * size, channels)

        qkv = nn.Dense(3 * channels, name="qkv")(x)
        qkv = qkv.reshape(len(x), size * size, 3, self.heads, channels // self.heads)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        logits = (q * (channels // self.heads) ** -0.5) @ k.swapaxes(-1, -2)
        table = self.param(
            "relative_positions",
            nn.initializers.truncated_normal(0.02),
            ((2 * size - 1) ** 2, self.heads),
        )
        bias = table[window_positions(size).reshape(-1)].reshape(size**2, size**2, self.heads)
        logits = logits + bias.transpose(2, 0, 1)[None]
        if self.shift:
            mask = shift_mask(height, width, size, self.shift)
            logits = logits.reshape(n, len(mask), *logits.shape[1:])
            logits = jnp.where(mask[None, :, None], logits, -1e9)
            logits = logits.reshape(-1, *logits.shape[2:])
        x = nn.softmax(logits) @ v
        x = x.swapaxes(1, 2).reshape(len(x), size * size, channels)
        x = nn.Dense(channels, name="projection")(x)

        x = x.reshape(n, height // size, width // size, size, size, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, height, width, channels)
        return jnp.roll(x, (self.shift, self.shift), axis=(1, 2)) if self.shift else x


class Swin(nn.Module):
    times: int = 1

    @nn.compact
    def __call__(self, x):
        width = 8 * self.times
        x = nn.LayerNorm()(nn.Conv(width, (2, 2), strides=2)(x))
        for shift in (0, 1):
            x = x + WindowAttention(2, 2, shift)(nn.LayerNorm()(x))
            x = x + nn.Dense(width)(nn.gelu(nn.Dense(2 * width)(nn.LayerNorm()(x))))
        # patch merging
        x = jnp.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], axis=-1)
        x = nn.Dense(10 * self.times, use_bias=False)(nn.LayerNorm()(x))
        return nn.Dense(3)(nn.LayerNorm()(x).mean(axis=(1, 2)))


@entry(MODELS, "linen swin")
def _swin(times=1):
    side = side_of(8, times)
    return linen(Swin(times), normal(4, side, side, 3))


class DoubleConv(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.relu(nn.GroupNorm(2)(nn.Conv(self.features, (3, 3))(x)))
        return x


class UNet(nn.Module):
    times: int = 1

    @nn.compact
    def __call__(self, x):
        skips = []
        for width in (4 * self.times, 6 * self.times):
            x = DoubleConv(width)(x)
            skips.append(x)
            x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        x = DoubleConv(8 * self.times)(x)
        for width in (6 * self.times, 4 * self.times):
            x = nn.ConvTranspose(width, (2, 2), strides=(2, 2))(x)
            x = DoubleConv(width)(jnp.concatenate([skips.pop(), x], axis=-1))
        return nn.Conv(2, (1, 1))(x)


@entry(MODELS, "linen u-net")
def _unet(times=1):
    side = side_of(4, times)
    return linen(UNet(times), normal(4, side, side, 2))


class DenseNet(nn.Module):
    growth: int = 4

    @nn.compact
    def __call__(self, x):
        def conv(x, features, size):
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            return nn.Conv(features, size, use_bias=False)(x)

        x = nn.Conv(2 * self.growth, (3, 3), use_bias=False)(x)
        for block in range(2):
            for _ in range(2):
                y = conv(x, 2 * self.growth, (1, 1))
                x = jnp.concatenate([x, conv(y, self.growth, (3, 3))], axis=-1)
            if not block:
                x = nn.avg_pool(conv(x, x.shape[-1] // 2, (1, 1)), (2, 2), (2, 2))
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        return nn.Dense(3)(x.mean(axis=(1, 2)))


@entry(MODELS, "linen densenet")
def _densenet(times=1):
    side = side_of(6, times)
    return linen(DenseNet(4 * times), normal(4, side, side, 3))
