"""NAS-Bench-201 as one Flax network: the cell is an input, so one compilation serves all 15,625.

The macro skeleton (Dong & Yang, ICLR 2020, arXiv 2001.00326): a 3x3 convolution, three stages of
cells at 1, 2 and 4 times the channels with a residual block of stride 2 between them, batch
normalisation, ReLU, global average pooling, a linear classifier. What a cell does stands in
:mod:`jaxntk.networks.nasbench201_cell`. Inside cells convolutions have a bias and batch
normalisation has neither scale, bias nor running statistics, as in the network that the LGA paper
scores (Mok et al., CVPR 2022); stem, residual blocks and the last normalisation have all.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.drawing import leaf_by_leaf
from jaxntk.networks.initializers import initialization
from jaxntk.networks.layers import (
    BatchNorm,
    ConvParameters,
    Dense,
    Normalizer,
    apply_conv,
    avg_pool_2x2,
    relu,
)
from jaxntk.networks.model import Variables
from jaxntk.networks.nasbench201_cell import Cell, without_dead_ends


class Reduction(nn.Module):
    """The residual block between stages: half the height and width, ``channels`` channels."""

    channels: int
    normalizer: Normalizer
    initializer: str
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        """Applies the block."""
        draw = initialization(self.initializer).kernel
        out = x
        for letter, stride in (("a", 2), ("b", 1)):
            kernel = ConvParameters(self.channels, 3, draw, name=f"conv_{letter}")(out)
            out = apply_conv(relu(out), kernel, stride=stride)
            out = BatchNorm(self.normalizer, self.axis_name, name=f"norm_{letter}")(out)
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
        batch_norm: see :class:`~jaxntk.networks.batch_norm.BatchNormMode`; what takes a kernel or
            trains says which it means (:func:`~jaxntk.networks.nasbench201_model.cell_model`).
        initializer: ``pytorch``, ``he_normal`` or ``lecun_normal``.
        axis_name: name of a ``jax.vmap`` axis that the rest of a batch is along, for statistics of
            the batch; None where x is the whole batch.
    """

    num_classes: int
    channels: int
    cells_per_stage: int
    batch_norm: BatchNormMode = BatchNormMode.STORED
    initializer: str = "pytorch"
    axis_name: str | None = None

    cell: ClassVar[type[nn.Module]] = Cell
    choice: ClassVar[jax.ShapeDtypeStruct] = jax.ShapeDtypeStruct((6,), jnp.int32)
    """Shape and dtype of ``arch``."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], arch: Shaped[Array, "..."]
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
        x = BatchNorm(tracked, self.axis_name, name="stem_norm")(x)
        arch = self.simplified(arch)
        scanned = nn.scan(
            self.cell,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,  # pyright: ignore[reportArgumentType]  Flax's own idiom
            length=self.cells_per_stage,
        )
        for stage in (1, 2, 3):
            if stage > 1:
                width = self.channels * 2 ** (stage - 1)
                x = Reduction(
                    width, tracked, self.initializer, self.axis_name, name=f"reduction_{stage - 1}"
                )(x)
            x, _ = scanned(
                self.batch_norm.cells, self.initializer, self.axis_name, name=f"stage_{stage}"
            )(x, arch)
        x = relu(BatchNorm(tracked, self.axis_name, name="norm")(x))
        x = jnp.mean(x, axis=(1, 2))
        bias_init = draw.bias(x.shape[-1])
        return Dense(self.num_classes, draw.kernel, bias_init, name="classifier")(x)

    @staticmethod
    def simplified(arch: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """Leaves out what does not change the network.

        Args:
            arch: six operations, 0..4.

        Returns:
            Operations that give the same network.
        """
        return without_dead_ends(arch)


def logits(
    network: NasBench201,
    variables: Variables,
    x: Float[Array, "n h w c"],
    arch: Shaped[Array, "..."],
) -> Float[Array, "n classes"]:
    """Applies the network.

    Args:
        network: the network.
        variables: the Flax collections.
        x: standardised images.
        arch: six operations, 0..4, or what else the network lets one choose.

    Returns:
        The logits.
    """
    return cast(Array, network.apply(variables, x, arch))


def batch_statistics(
    network: NasBench201,
    variables: Variables,
    x: Float[Array, "n h w c"],
    arch: Shaped[Array, "..."],
) -> dict[str, Any]:
    """Returns the collection ``batch_stats`` by which stored statistics are those of a batch.

    Args:
        network: the network.
        variables: the Flax collections.
        x: standardised images, all of the batch.
        arch: six operations, 0..4, or what else the network lets one choose.

    Returns:
        The collection.
    """
    frozen = network.clone(batch_norm=BatchNormMode.FROZEN)
    _, updated = cast(tuple, frozen.apply(variables, x, arch, mutable=["batch_stats"]))
    return updated["batch_stats"]


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
    @leaf_by_leaf
    def init(key: Array) -> dict[str, Any]:
        x = jnp.zeros((2, *image_shape), jnp.float32)
        variables = network.init(key, x, jnp.zeros(network.choice.shape, network.choice.dtype))
        drawn = {name: variables[name] for name in ("params", "batch_stats")}
        return jax.tree.map(lambda leaf: leaf.astype(dtype), drawn)

    return init
