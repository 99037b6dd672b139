"""Empirical neural tangent kernels: from a network and images to Gram matrices."""
