"""Small networks in Flax Linen: norms, options of convolutions, shared and lifted modules."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.zoo.linen import KEY_BIAS, MLP, linen
from tests.zoo.model import Make, entry, normal

MODELS: dict[str, Make] = {}


class GroupNormNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.GroupNorm(num_groups=2)(nn.Conv(6, (3, 3), strides=2)(x)))
        x = nn.relu(nn.InstanceNorm()(nn.Conv(4, (3, 3))(x)))
        x = nn.max_pool(x, (2, 2), strides=(2, 2), padding="SAME")
        return nn.Dense(3)(x.reshape(len(x), -1))


@entry(MODELS, "linen group and instance norm")
def _group_norm():
    # The norm over all pixels of a channel takes its bias away.
    return linen(GroupNormNet(), normal(5, 6, 6, 3), idle=("['Conv_1']['bias']",))


class WeightNormNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.WeightNorm(nn.Conv(4, (3, 3)))(x))
        x = x.reshape(len(x), -1)
        x = jnp.tanh(nn.WeightNorm(nn.Dense(6))(x))
        return nn.WeightNorm(nn.Dense(3), use_scale=False)(x)


@entry(MODELS, "linen weight norm")
def _weight_norm():
    return linen(WeightNormNet(), normal(5, 4, 4, 2))


class SpectralNormNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(nn.SpectralNorm(nn.Conv(5, (3, 3)))(x, update_stats=False))
        x = x.mean(axis=(1, 2))
        return nn.SpectralNorm(nn.Dense(3))(x, update_stats=False)


@entry(MODELS, "linen spectral norm, evaluated")
def _spectral_norm():
    return linen(SpectralNormNet(), normal(5, 5, 5, 2))


class ConvOptions(nn.Module):
    """The layers given one after another, with ReLUs between, and global averages."""

    layers: Sequence[nn.Module]
    out: int = 3

    @nn.compact
    def __call__(self, x):
        for layer in self.layers:
            x = nn.relu(layer(x))
        return nn.Dense(self.out)(x.mean(axis=tuple(range(1, x.ndim - 1))))


@entry(MODELS, "linen resnext, groups")
def _groups():
    layers = [
        nn.Conv(8, (3, 3)),
        nn.Conv(8, (3, 3), feature_group_count=4, strides=2),
        nn.Conv(4, (1, 1)),
    ]
    return linen(ConvOptions(layers), normal(5, 6, 6, 3))


@entry(MODELS, "linen dilation")
def _dilation():
    layers = [
        nn.Conv(5, (3, 3), kernel_dilation=(2, 1)),
        nn.Conv(4, (3, 3), kernel_dilation=2, padding="VALID"),
    ]
    return linen(ConvOptions(layers), normal(5, 8, 8, 2))


@entry(MODELS, "linen circular padding")
def _circular():
    layers = [nn.Conv(5, (3, 3), padding="CIRCULAR"), nn.Conv(4, (3, 3), 2, padding="REFLECT")]
    return linen(ConvOptions(layers), normal(5, 6, 6, 2))


@entry(MODELS, "linen volumes")
def _volumes():
    layers = [nn.Conv(4, (3, 3, 3)), nn.Conv(4, (2, 2, 2), strides=2)]
    return linen(ConvOptions(layers), normal(4, 4, 4, 4, 2))


@entry(MODELS, "linen transposed, strides 3")
def _transposed():
    layers = [
        nn.ConvTranspose(4, (3, 3), strides=(3, 2), padding="VALID"),
        nn.ConvTranspose(3, (3, 3), transpose_kernel=True),
    ]
    return linen(ConvOptions(layers), normal(5, 3, 3, 2))


@entry(MODELS, "linen locally connected")
def _local():
    return linen(ConvOptions([nn.ConvLocal(3, (2, 2), strides=2)]), normal(5, 6, 6, 2))


class FiLM(nn.Module):
    """A convolutional network whose features are scaled and moved by what a label says."""

    classes: int

    @nn.compact
    def __call__(self, inputs):
        label = nn.Embed(self.classes, 5, name="label")(inputs["label"])
        x = inputs["pixels"] * inputs["mask"][..., None]
        for width in (5, 4):
            x = nn.Conv(width, (3, 3))(x)
            gamma, beta = jnp.split(nn.Dense(2 * width)(label), 2, axis=-1)
            x = nn.relu(x * (1 + gamma[:, None, None]) + beta[:, None, None])
        return nn.Dense(3)(x.mean(axis=(1, 2)))


@entry(MODELS, "linen film, dictionary of inputs")
def _film():
    x = {
        "pixels": normal(5, 5, 5, 2),
        "mask": normal(5, 5, 5, seed=2) > -0.5,
        "label": jnp.asarray([2, 0, 2, 3, 1], jnp.int32),
    }
    return linen(FiLM(4), x)


class Shared(nn.Module):
    """A convolution and a dense layer that are used more than once, in series and in parallel."""

    @nn.compact
    def __call__(self, x):
        conv, dense = nn.Conv(3, (3, 3), name="conv"), nn.Dense(4, name="dense")
        x = conv(nn.relu(conv(x)))
        small = nn.avg_pool(x, (2, 2), (2, 2))
        both = dense(x.mean(axis=(1, 2))), dense(small.max(axis=(1, 2)))
        return nn.Dense(2)(jnp.tanh(both[0]) * both[1])


@entry(MODELS, "linen shared layers")
def _shared():
    return linen(Shared(), normal(5, 4, 4, 3))


class Siamese(nn.Module):
    """One tower for two pictures, which are stacked into one batch."""

    @nn.compact
    def __call__(self, pair):
        left, right = pair
        both = jnp.concatenate([left, right])
        both = nn.relu(nn.Dense(6)(both))
        left, right = jnp.split(nn.Dense(4, name="last")(both), 2)
        return nn.Dense(2)(jnp.abs(left - right))


@entry(MODELS, "linen siamese, one batch of both")
def _siamese():
    # What is added to both has no part in their difference.
    return linen(Siamese(), (normal(5, 4), normal(5, 4, seed=2)), idle=("['last']['bias']",))


class ScannedMLP(nn.Module):
    depth: int = 3

    @nn.compact
    def __call__(self, x):
        def body(layer, carry, _):
            return carry + jnp.tanh(layer(carry)), carry.mean(axis=-1)

        layers = nn.scan(
            body, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.depth
        )
        x, means = layers(nn.Dense(6), nn.Dense(6)(x), None)
        return jnp.concatenate([nn.Dense(2)(x), means.T], axis=-1)


@entry(MODELS, "linen scan over layers, collected")
def _scanned_mlp():
    return linen(ScannedMLP(), normal(5, 4))


class Rematerialised(nn.Module):
    @nn.compact
    def __call__(self, x):
        block = nn.remat(MLP, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
        x = jnp.tanh(block([6, 5])(x))
        return nn.remat(nn.Dense)(3)(x)


@entry(MODELS, "linen remat")
def _remat():
    return linen(Rematerialised(), normal(5, 4))


class Ensemble(nn.Module):
    """Several networks under ``nn.vmap``, and the mean of their votes."""

    @nn.compact
    def __call__(self, x):
        members = nn.vmap(
            MLP,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            out_axes=1,
            axis_size=3,
        )
        return nn.log_softmax(members([5, 3])(x)).mean(axis=1)


@entry(MODELS, "linen ensemble under vmap")
def _ensemble():
    return linen(Ensemble(), normal(5, 4))


class Perceiver(nn.Module):
    """Learnt queries that attend to the input, and a mask of what is there."""

    @nn.compact
    def __call__(self, inputs):
        x = nn.Dense(6)(inputs["tokens"])
        latents = self.param("latents", nn.initializers.normal(1.0), (3, 6))
        latents = jnp.broadcast_to(latents, (len(x), 3, 6))
        mask = nn.make_attention_mask(jnp.ones(latents.shape[:2], bool), inputs["mask"])
        attend = nn.MultiHeadDotProductAttention(2, qkv_features=4, out_features=6)
        latents = latents + attend(latents, x, mask=mask)
        within = nn.MultiHeadDotProductAttention(2, normalize_qk=True)
        latents = latents + within(nn.RMSNorm()(latents))
        return nn.DenseGeneral(3, axis=(-2, -1))(latents)


@entry(MODELS, "linen perceiver, mask")
def _perceiver():
    mask = np.arange(5) < np.array([5, 3, 4, 1])[:, None]
    x = {"tokens": normal(4, 5, 3), "mask": jnp.asarray(mask)}
    return linen(Perceiver(), x, idle=(KEY_BIAS,))


class Activations(nn.Module):
    """Activations with parameters, and a maxout."""

    @nn.compact
    def __call__(self, x):
        x = nn.PReLU()(nn.Dense(8)(x))
        beta = self.param("beta", nn.initializers.ones, ())
        x = nn.Dense(8)(x)
        x = x * nn.sigmoid(beta * x)
        x = nn.Dense(8)(x).reshape(len(x), 4, 2).max(axis=-1)
        temperature = self.param("log_temperature", nn.initializers.zeros, (1,))
        return nn.Dense(3)(x) * jnp.exp(temperature)


@entry(MODELS, "linen learnt activations, maxout")
def _activations():
    return linen(Activations(), normal(5, 4))


class StochasticDepth(nn.Module):
    """Dropout, which is switched off."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dropout(0.5)(nn.relu(nn.Dense(6)(x)), deterministic=not train)
        y = nn.Dropout(0.3, broadcast_dims=(1,))(nn.Dense(6)(x), deterministic=not train)
        return nn.Dense(2)(x + y)


@entry(MODELS, "linen dropout, off")
def _dropout():
    return linen(StochasticDepth(), normal(5, 4))


class PixelShuffle(nn.Module):
    """Super-resolution: channels become pixels, beside the resized input."""

    @nn.compact
    def __call__(self, x):
        n, h, w, c = x.shape
        y = nn.Conv(4 * c, (3, 3))(nn.relu(nn.Conv(5, (3, 3))(x)))
        y = y.reshape(n, h, w, 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c)
        return y + jax.image.resize(nn.Conv(c, (1, 1))(x), y.shape, "bilinear")


@entry(MODELS, "linen pixel shuffle")
def _pixel_shuffle():
    return linen(PixelShuffle(), normal(4, 3, 3, 1))
