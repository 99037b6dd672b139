"""Training of networks that take their architecture as an input."""
