"""Small networks of every kind of layer, each with an input, for laws that all kernels obey."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tests.networks import tiny

N = 5
OUT = 2
WIDE = {"param_dtype": jnp.float64}


class Sequence(nn.Module):
    """Layers one after another, a mean over what is between batch and channels, two outputs."""

    layers: tuple

    @nn.compact
    def __call__(self, x):
        for layer in self.layers:
            x = layer.copy()(x) if isinstance(layer, nn.Module) else layer(x)
        x = x.reshape(len(x), -1, x.shape[-1]).mean(axis=1)
        return nn.Dense(OUT, **WIDE)(x)


class Block(nn.Module):
    """A block of a vision transformer."""

    @nn.compact
    def __call__(self, x, _=None):
        inner = nn.LayerNorm(**WIDE)(x)
        x = x + nn.MultiHeadDotProductAttention(2, qkv_features=4, **WIDE)(inner)
        inner = nn.LayerNorm(**WIDE)(x)
        return x + nn.Dense(4, **WIDE)(nn.gelu(nn.Dense(6, **WIDE)(inner))), None


class Transformer(nn.Module):
    """Patches, learnt positions, scanned blocks: a small ViT."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (2, 2), strides=2, **WIDE)(x)
        x = x.reshape(len(x), -1, 4)
        x += self.param("positions", nn.initializers.normal(), (1, *x.shape[1:]), jnp.float64)
        scanned = nn.scan(
            nn.remat(Block), variable_axes={"params": 0}, split_rngs={"params": True}, length=2
        )
        x, _ = scanned(name="blocks")(x, None)
        x = nn.LayerNorm(**WIDE)(x).mean(axis=1)
        return nn.Dense(OUT, **WIDE)(x)


class Shared(nn.Module):
    """One dense layer that is used twice, and one that is used once."""

    @nn.compact
    def __call__(self, x):
        twice = nn.Dense(x.shape[-1], name="twice", **WIDE)
        return nn.Dense(OUT, **WIDE)(twice(jnp.tanh(twice(x))))


class Recurrent(nn.Module):
    """One dense layer in every step of a loop."""

    @nn.compact
    def __call__(self, x):
        scanned = nn.scan(
            lambda cell, carry, _: (jnp.tanh(cell(carry)), None),
            variable_broadcast="params",
            split_rngs={"params": False},
            length=3,
        )
        x, _ = scanned(nn.Dense(x.shape[-1], name="cell", **WIDE), x, None)
        return nn.Dense(OUT, **WIDE)(x)


class Tokens(nn.Module):
    """Words, embedded and averaged."""

    words: int

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(self.words, 4, param_dtype=jnp.float64)(ids)
        x = nn.RMSNorm(**WIDE)(x)
        return nn.Dense(OUT, **WIDE)(jnp.tanh(x).mean(axis=1))


class Stored(nn.Module):
    """Batch normalisation with stored statistics."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True, **WIDE)(nn.Dense(5, **WIDE)(x))
        return nn.Dense(OUT, **WIDE)(jnp.tanh(x))


def _conv(**options):
    return nn.Conv(4, (3, 3), **WIDE, **options)


VECTORS, IMAGES = (N, 4), (N, 6, 6, 2)
LINEN = {
    "dense": (Sequence((nn.Dense(5, **WIDE), jnp.tanh)), VECTORS),
    "dense of several axes": (
        Sequence((nn.DenseGeneral((3, 2), **WIDE), nn.DenseGeneral(4, axis=(-2, -1), **WIDE))),
        (N, 3, 4),
    ),
    "conv": (Sequence((_conv(), nn.relu, _conv(use_bias=False))), IMAGES),
    "conv, stride 2": (Sequence((_conv(strides=2), jnp.tanh)), IMAGES),
    "conv, strides 1 and 2": (Sequence((_conv(strides=(1, 2), padding=((2, 0), (0, 1))),)), IMAGES),
    "conv of patches": (
        Sequence((nn.Conv(4, (2, 3), strides=(2, 3), padding="VALID", **WIDE), jnp.tanh)),
        IMAGES,
    ),
    "conv of patches that do not fit": (
        Sequence((_conv(strides=3, padding=((1, 0), (2, 2))), jnp.tanh)),
        (N, 7, 6, 2),
    ),
    "conv, cropped": (Sequence((_conv(padding=((-1, 0), (2, -2))), jnp.tanh)), IMAGES),
    "conv of patches, cropped": (
        Sequence((nn.Conv(4, (2, 2), strides=2, padding=((-1, 1), (0, -2)), **WIDE), jnp.tanh)),
        IMAGES,
    ),
    "conv, dilation": (Sequence((_conv(kernel_dilation=2), jnp.tanh)), IMAGES),
    "conv, groups": (Sequence((_conv(feature_group_count=2), jnp.tanh)), IMAGES),
    "conv, stride, dilation, groups": (
        Sequence((
            _conv(strides=2, kernel_dilation=(1, 2), feature_group_count=2, padding="VALID"),
        )),
        IMAGES,
    ),
    "conv, circular": (Sequence((_conv(padding="CIRCULAR"),)), IMAGES),
    "conv, reflected": (Sequence((_conv(padding="REFLECT", strides=2),)), IMAGES),
    "conv, causal": (Sequence((nn.Conv(3, (3,), padding="CAUSAL", **WIDE),)), (N, 7, 2)),
    "conv of volumes": (Sequence((nn.Conv(3, (2, 2, 2), **WIDE),)), (N, 3, 4, 3, 2)),
    "layer norm": (Sequence((nn.Dense(5, **WIDE), nn.LayerNorm(**WIDE), jnp.tanh)), VECTORS),
    "rms norm": (Sequence((nn.Dense(5, **WIDE), nn.RMSNorm(**WIDE), jnp.tanh)), VECTORS),
    "group norm": (Sequence((_conv(), nn.GroupNorm(2, **WIDE), nn.relu)), IMAGES),
    "batch norm, stored": (Stored(), VECTORS),
    "attention": (
        Sequence((nn.MultiHeadDotProductAttention(2, normalize_qk=True, **WIDE),)),
        (N, 3, 4),
    ),
    "embedding": (Tokens(6), (N, 7)),
    "embedding of many words": (Tokens(40), (N, 5)),
    "small ViT": (Transformer(), (N, 4, 4, 3)),
    "shared weights": (Shared(), VECTORS),
    "loop over one layer": (Recurrent(), VECTORS),
}
CELLS = {"NAS-Bench-201 cell, stored": tiny.ALL_OPS}
NAMES = [*LINEN, *CELLS]


def inputs(shape, seed=0):
    rng = np.random.default_rng(seed)
    if shape == LINEN["embedding"][1]:
        return jnp.asarray(rng.integers(0, 6, shape))
    if shape == LINEN["embedding of many words"][1]:
        # Negative numbers count from the end; 38 and -2 are the same word.
        return jnp.asarray(rng.choice([1, 7, 38, -2, -40], shape))
    return jnp.asarray(rng.normal(size=shape))


def shaken(params):
    # Zero biases and unit scales would hide what is added or multiplied in the wrong place.
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.uniform(0.1, 0.5, leaf.shape), leaf.dtype), params
    )


def make(name):
    """Returns ``apply_fn, params, x`` of a case."""
    if name in CELLS:
        net = tiny.network(channels=2, cells_per_stage=1, batch_norm=tiny.BatchNormMode.STORED)
        variables = tiny.variables(net, (4, 4, 3))
        arch = jnp.asarray(CELLS[name], jnp.int32)
        rest = {"batch_stats": variables["batch_stats"]}
        x = jnp.asarray(tiny.images((N, 4, 4, 3)))
        return lambda p, x: net.apply({**rest, "params": p}, x, arch), variables["params"], x
    model, shape = LINEN[name]
    x = inputs(shape)
    variables = model.init(jax.random.key(0), x)
    params = shaken(variables.pop("params"))
    return lambda p, x: model.apply({**variables, "params": p}, x), params, x
