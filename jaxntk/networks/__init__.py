"""Flax networks that take their architecture as an input, and the layers they are made of."""
