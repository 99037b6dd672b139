"""Flax's convolution for search spaces of one's own."""

import flax.linen as nn
from flax.typing import ConvGeneralDilatedT

from jaxntk.networks.fast_convolution import conv_general_dilated


class Conv(nn.Conv):
    """``flax.linen.Conv`` whose gradient is fast inside ``nn.switch``, ``nn.scan`` and ``nn.cond``.

    The same parameters, options and values. On CPUs the gradient of an ordinary convolution's input
    is several times slower inside loops and branches than outside (measured by
    ``benchmarks/switched_convolution.py``), and a search space that chooses its operations by
    ``nn.switch`` is made of these.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> x = jnp.ones((2, 8, 8, 3))
        >>> params = Conv(4, (3, 3)).init(jax.random.key(0), x)
        >>> Conv(4, (3, 3)).apply(params, x).shape
        (2, 8, 8, 4)
    """

    conv_general_dilated: ConvGeneralDilatedT | None = conv_general_dilated
