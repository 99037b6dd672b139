"""Search spaces: integer encodings, names, variation, canonical forms, parameters and FLOPs."""

from jaxntk.spaces import autoformer, nasbench201, pit
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import Space, listed, sample

__all__ = ["SPACES", "Space", "autoformer", "listed", "nasbench201", "pit", "sample"]
