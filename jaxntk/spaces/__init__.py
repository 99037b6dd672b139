"""Search spaces: integer encodings, names, variation, canonical forms, parameters and FLOPs."""

from jaxntk.spaces import nasbench201

__all__ = ["nasbench201"]
