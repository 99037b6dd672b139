"""NAS-Bench-201 with several operations on every edge: the supernet that pruning begins from.

A choice is a mask of edges and operations. An edge gives the mean of what its operations make of
its source,

    node[target] += (1 / number of operations left) * sum over them of  op(node[source]),

which is the softmax of equal weights over what is left; ``none`` adds nothing, and counts. With one
operation on each edge it is the network of that cell, and its parameters are those of
:class:`~jaxntk.networks.nasbench201.NasBench201`: both may be given the same variables.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from jaxntk.errors import InputError
from jaxntk.networks.layers import Normalizer, apply_conv, avg_pool_3x3, normalize, relu
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_cell import Edge, EdgeParameters
from jaxntk.spaces.nasbench201 import EDGES, NUM_EDGES, OPS


class SuperCell(nn.Module):
    """A cell with several operations on each edge."""

    normalizer: Normalizer
    initializer: str
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], mask: Bool[Array, "6 5"]
    ) -> tuple[Float[Array, "n h w c"], None]:
        """Applies the cell; the second value is the empty output ``nn.scan`` asks for."""
        # Both convolutions of an edge would have to share the statistics it stores.
        if self.normalizer is Normalizer.STORED and not self.is_initializing():
            cure = "choose batch or frozen: a supernet stores no statistics"
            raise InputError("batch_norm", self.normalizer.value, cure)
        nodes = [x] + [jnp.zeros_like(x)] * 3
        for kept, (to, source) in zip(mask, EDGES, strict=True):
            edge = Edge(self.initializer, name=f"edge_{to}_from_{source}")(x)
            shares = kept.astype(x.dtype) / jnp.maximum(kept.sum(), 1).astype(x.dtype)
            nodes[to] += _mixed(nodes[source], shares, edge, self.normalizer, self.axis_name)
        return nodes[-1], None


class Supernet(NasBench201):
    """The whole network, ``apply(variables, x, mask) -> logits``; see :class:`NasBench201`."""

    cell: ClassVar[type[nn.Module]] = SuperCell
    choice: ClassVar[jax.ShapeDtypeStruct] = jax.ShapeDtypeStruct((NUM_EDGES, len(OPS)), jnp.bool_)

    @staticmethod
    def simplified(arch: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """Returns a mask as it is.

        Args:
            arch: the mask.

        Returns:
            The same.
        """
        return arch


def _mixed(
    x: Float[Array, "n h w c"],
    shares: Float[Array, "5"],
    edge: EdgeParameters,
    normalizer: Normalizer,
    axis_name: str | None,
) -> Float[Array, "n h w c"]:
    """The weighted sum of what all operations make of a node."""

    def convolved(size: int) -> Array:
        out = apply_conv(relu(x), edge.convolutions[size])
        return normalize(out, normalizer, edge.stored, axis_name)[0]

    _, skip, one, three, pool = shares
    return skip * x + one * convolved(1) + three * convolved(3) + pool * avg_pool_3x3(x)
