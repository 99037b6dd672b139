"""Search spaces: integer encodings, names, variation, canonical forms, parameters and FLOPs."""

from jaxntk.spaces import autoformer, nasbench201, pit

__all__ = ["autoformer", "nasbench201", "pit"]
