"""NAS-Bench-201 as one Flax network: the cell is an input, so one compilation serves all 15,625.

The macro skeleton (Dong & Yang, ICLR 2020, arXiv 2001.00326): a 3x3 convolution, three stages of
cells at 1, 2 and 4 times the channels with a residual block of stride 2 between them, batch
normalisation, ReLU, global average pooling, a linear classifier. A cell has four nodes; each of its
six edges applies the operation that ``arch`` names:

    0 none    1 skip_connect    2 nor_conv_1x1    3 nor_conv_3x3    4 avg_pool_3x3

on the edges (1<-0) (2<-0) (2<-1) (3<-0) (3<-1) (3<-2). Inside cells convolutions have a bias and
batch normalisation has neither scale, bias nor running statistics, as in the network that the LGA
paper scores (Mok et al., CVPR 2022); stem, residual blocks and the last normalisation have all.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache, partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxntk.networks.forward_mode import in_forward_mode
from jaxntk.networks.initializers import initialization
from jaxntk.networks.layers import (
    MOMENTS,
    BatchNorm,
    ConvParameters,
    Dense,
    Normalizer,
    Parameter,
    apply_conv,
    avg_pool_2x2,
    avg_pool_3x3,
    normalize,
    relu,
)
from jaxntk.spaces.nasbench201 import EDGES

Variables = Mapping[str, Any]


class BatchNormMode(StrEnum):
    """What batch normalisation does while a kernel is taken; it changes the kernel and its ranking.

    * ``BATCH``: batch statistics, differentiated through. Examples interact; the kernel is exact
      and dear (the official LGA code in training mode).
    * ``FROZEN``: batch statistics, held constant. Examples do not interact.
    * ``RUNNING``: running statistics where the network keeps them, and batch statistics,
      differentiated through, inside cells, which keep none (the official LGA code in evaluation
      mode). Examples interact.
    * ``STORED``: every layer uses the statistics in ``batch_stats``. Examples do not interact.
    """

    BATCH = "batch"
    FROZEN = "frozen"
    RUNNING = "running"
    STORED = "stored"

    @property
    def tracked(self) -> Normalizer:
        """What the layers with running statistics use."""
        return _NORMALIZERS[self][0]

    @property
    def cells(self) -> Normalizer:
        """What the layers inside cells use."""
        return _NORMALIZERS[self][1]

    @property
    def coupled(self) -> bool:
        """Whether the examples of a batch interact, so that only the coupled kernel is exact."""
        return Normalizer.BATCH in _NORMALIZERS[self]


_NORMALIZERS = {
    BatchNormMode.BATCH: (Normalizer.BATCH, Normalizer.BATCH),
    BatchNormMode.FROZEN: (Normalizer.FROZEN, Normalizer.FROZEN),
    BatchNormMode.RUNNING: (Normalizer.STORED, Normalizer.BATCH),
    BatchNormMode.STORED: (Normalizer.STORED, Normalizer.STORED),
}


class Edge(nn.Module):
    """One edge of a cell: the parameters of all its operations, of which ``op`` picks one."""

    normalizer: Normalizer
    initializer: str

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], op: Int[Array, ""]) -> Float[Array, "n h w c"]:
        """Applies operation ``op`` (see the module's docstring)."""
        channels = x.shape[-1]
        draw = initialization(self.initializer)
        convolutions = {
            size: ConvParameters(
                channels,
                size,
                draw.kernel,
                draw.bias(size**2 * channels),
                name=f"conv_{size}x{size}",
            )(x)
            for size in (1, 3)
        }
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), x.dtype)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), x.dtype)
        stored = tuple(moment.value.astype(x.dtype) for moment in (mean, var))
        apply = _remade_operation(self.normalizer, in_forward_mode())
        out, used = apply(op, x, convolutions, stored)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            mean.value, var.value = used
        return out


@cache
def _remade_operation(normalizer: Normalizer, forward: bool) -> Callable[..., Any]:
    """Returns :func:`apply_operation`, recomputed in the backward pass and traced once a shape.

    In forward mode it is another function, so that neither mode meets traces of the other.
    """
    del forward
    # Edges of one shape share the trace of one function and of its derivatives.
    traced_once = jax.jit(partial(apply_operation, normalizer=normalizer))
    # Without recomputation the switch would save what every branch needs, zeros included. With
    # frozen statistics the derivative of a normalised convolution needs its input and its variance
    # only; kept, the variance spares the backward pass the convolution itself.
    keep = jax.checkpoint_policies.save_only_these_names(MOMENTS)
    return jax.checkpoint(traced_once, policy=keep)


def apply_operation(
    op: Int[Array, ""],
    x: Float[Array, "n h w c"],
    convolutions: dict[int, tuple[Parameter, Parameter | None]],
    stored: tuple[Float[Array, " c"], Float[Array, " c"]],
    normalizer: Normalizer,
) -> tuple[Float[Array, "n h w c"], tuple[Float[Array, " c"], Float[Array, " c"]]]:
    """Applies one of the five operations of the space.

    Args:
        op: its number, 0..4, traced; under ``scan`` and ``map`` only its branch runs.
        x: the input of the edge.
        convolutions: the edge's convolutions by their size, 1 and 3.
        stored: mean and variance of the edge's normalisation, for ``Normalizer.STORED``.
        normalizer: where mean and variance come from.

    Returns:
        The output, and the mean and variance used (``stored`` where nothing was normalised).
    """

    def relu_conv_norm(size: int) -> tuple[Array, tuple[Array, Array]]:
        return normalize(apply_conv(relu(x), convolutions[size]), normalizer, stored)

    branches = (
        lambda: (jnp.zeros_like(x), stored),
        lambda: (x, stored),
        lambda: relu_conv_norm(1),
        lambda: relu_conv_norm(3),
        lambda: (avg_pool_3x3(x), stored),
    )
    return lax.switch(op, branches)


class Cell(nn.Module):
    """A cell: node j is the sum of its incoming edges; the output is the last node."""

    normalizer: Normalizer
    initializer: str

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], arch: Int[Array, "6"]
    ) -> tuple[Float[Array, "n h w c"], None]:
        """Applies the cell; the second value is the empty output ``nn.scan`` asks for."""
        nodes = [x]
        for target in (1, 2, 3):
            incoming = [
                Edge(self.normalizer, self.initializer, name=f"edge_{to}_from_{source}")(
                    nodes[source], arch[index]
                )
                for index, (to, source) in enumerate(EDGES)
                if to == target
            ]
            nodes.append(sum(incoming[1:], start=incoming[0]))
        return nodes[-1], None


class Reduction(nn.Module):
    """The residual block between stages: half the height and width, ``channels`` channels."""

    channels: int
    normalizer: Normalizer
    initializer: str

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        """Applies the block."""
        draw = initialization(self.initializer).kernel
        out = x
        for letter, stride in (("a", 2), ("b", 1)):
            kernel = ConvParameters(self.channels, 3, draw, name=f"conv_{letter}")(out)
            out = apply_conv(relu(out), kernel, stride=stride)
            out = BatchNorm(self.normalizer, name=f"norm_{letter}")(out)
        shortcut = avg_pool_2x2(x)
        return out + apply_conv(
            shortcut, ConvParameters(self.channels, 1, draw, name="shortcut")(shortcut)
        )


class NasBench201(nn.Module):
    """The whole network, ``apply(variables, x, arch) -> logits``.

    Args:
        num_classes: outputs of the classifier.
        channels: of the stem and the first stage (16 in the benchmark).
        cells_per_stage: 5 in the benchmark.
        batch_norm: see :class:`BatchNormMode`; there is no default.
        initializer: ``pytorch``, ``he_normal`` or ``lecun_normal``.
    """

    num_classes: int
    channels: int
    cells_per_stage: int
    batch_norm: BatchNormMode
    initializer: str = "pytorch"

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], arch: Int[Array, "6"]
    ) -> Float[Array, "n classes"]:
        """Returns the logits of images under the cell ``arch``.

        Args:
            x: standardised images, channels last; height and width are multiples of 4, as each of
                the two reductions halves them.
            arch: six operations, 0..4; traced, so that another cell does not compile anew.

        Returns:
            One row of logits an image.
        """
        tracked = self.batch_norm.tracked
        draw = initialization(self.initializer)
        x = apply_conv(x, ConvParameters(self.channels, 3, draw.kernel, name="stem")(x))
        x = BatchNorm(tracked, name="stem_norm")(x)
        scanned = nn.scan(
            Cell,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]  Flax's own idiom
            length=self.cells_per_stage,
        )
        for stage in (1, 2, 3):
            if stage > 1:
                width = self.channels * 2 ** (stage - 1)
                x = Reduction(width, tracked, self.initializer, name=f"reduction_{stage - 1}")(x)
            x, _ = scanned(self.batch_norm.cells, self.initializer, name=f"stage_{stage}")(x, arch)
        x = relu(BatchNorm(tracked, name="norm")(x))
        x = jnp.mean(x, axis=(1, 2))
        bias_init = draw.bias(x.shape[-1])
        return Dense(self.num_classes, draw.kernel, bias_init, name="classifier")(x)


def logits(
    network: NasBench201, variables: Variables, x: Float[Array, "n h w c"], arch: Int[Array, "6"]
) -> Float[Array, "n classes"]:
    """Applies the network.

    Args:
        network: the network.
        variables: the Flax collections.
        x: standardised images.
        arch: six operations, 0..4.

    Returns:
        The logits.
    """
    return cast(Array, network.apply(variables, x, arch))


def batch_statistics(
    network: NasBench201, variables: Variables, x: Float[Array, "n h w c"], arch: Int[Array, "6"]
) -> dict[str, Any]:
    """Returns the collection ``batch_stats`` that makes stored statistics those of a batch.

    Args:
        network: the network.
        variables: the Flax collections.
        x: standardised images, all of the batch.
        arch: six operations, 0..4.

    Returns:
        ``{"batch_stats": ...}``.
    """
    frozen = network.clone(batch_norm=BatchNormMode.FROZEN)
    _, updated = cast(tuple, frozen.apply(variables, x, arch, mutable=["batch_stats"]))
    return updated


def init_variables(
    network: NasBench201, key: Array, image_shape: tuple[int, ...], dtype: jnp.dtype
) -> dict[str, Any]:
    """Draws the parameters of all cells at once and sets the running statistics to 0 and 1.

    Args:
        network: the network.
        key: a JAX random key.
        image_shape: height, width, channels of one image.
        dtype: of the parameters. They are drawn in float32 whatever it is, so that a key gives the
            same network in every precision.

    Returns:
        ``{"params": ..., "batch_stats": ...}``.
    """
    # What is drawn does not depend on the mode, so one compilation serves all of them.
    drawn = network.clone(batch_norm=BatchNormMode.STORED)
    # A Flax module is a frozen dataclass and hashes by value, which pyright does not see.
    init = _init_fn(drawn, image_shape, jnp.dtype(dtype))  # pyright: ignore[reportArgumentType]
    return init(key)


@cache
def _init_fn(
    network: NasBench201, image_shape: tuple[int, ...], dtype: jnp.dtype
) -> Callable[[Array], dict[str, Any]]:
    # Kept, so that another seed does not compile anew.
    def init(key: Array) -> dict[str, Any]:
        x = jnp.zeros((2, *image_shape), jnp.float32)
        variables = network.init(key, x, jnp.zeros(6, jnp.int32))
        drawn = {name: variables[name] for name in ("params", "batch_stats")}
        return jax.tree.map(lambda leaf: leaf.astype(dtype), drawn)

    return jax.jit(init)
