"""Flax networks that take their architecture as an input, and the layers they are made of."""

from jaxntk.networks.conv import Conv

__all__ = ["Conv"]
