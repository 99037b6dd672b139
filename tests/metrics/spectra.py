"""Matrices with chosen spectra, for tests of kernel metrics."""

import numpy as np
import scipy.stats


def with_eigenvalues(eigenvalues, seed=0):
    """Returns a symmetric matrix with these eigenvalues and random eigenvectors."""
    eigenvalues = np.asarray(eigenvalues, dtype=np.float64)
    vectors = scipy.stats.ortho_group.rvs(eigenvalues.size, random_state=seed)
    matrix = (vectors * eigenvalues) @ vectors.T
    return (matrix + matrix.T) / 2


def random_kernel(n, seed=0, rank=None):
    """Returns G G^T for Gaussian G of shape (n, rank), rank 2n unless told."""
    gradients = np.random.default_rng(seed).normal(size=(n, rank or 2 * n))
    return gradients @ gradients.T


def label_matrix(labels, same=1.0, different=-1.0):
    """Returns the matrix with ``same`` where two labels agree and ``different`` elsewhere."""
    labels = np.asarray(labels)
    return np.where(labels[:, None] == labels[None, :], same, different)
