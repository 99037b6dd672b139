"""Images and benchmark tables: everything that is read from outside the program."""

from jaxntk.data.batches import Batch, make_batch, standardize
from jaxntk.data.digits201 import load_digits201
from jaxntk.data.digits_vit import load_digits_vit
from jaxntk.data.images import ImageDataset, load_images
from jaxntk.data.truths import table_look_up

__all__ = [
    "Batch",
    "ImageDataset",
    "load_digits201",
    "load_digits_vit",
    "load_images",
    "make_batch",
    "standardize",
    "table_look_up",
]
