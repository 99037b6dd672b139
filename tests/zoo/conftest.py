"""Every test of this folder runs in float64."""

from tests.networks.tiny import quick_float64  # noqa: F401
