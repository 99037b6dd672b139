"""Parameters and FLOPs of AutoFormer's networks."""

import numpy as np
from jaxtyping import Float, Int32, Int64

from jaxntk.errors import InputError
from jaxntk.spaces import genes
from jaxntk.spaces.autoformer_encoding import TINY, Choices, active_of
from jaxntk.spaces.genes import GenesLike
from jaxntk.spaces.vit_cost import ViTCosts, block_flops, block_params, check_sizes


def population_costs(
    archs: GenesLike,
    space: Choices = TINY,
    *,
    image_size: int = 224,
    patch_size: int = 16,
    in_channels: int = 3,
    num_classes: int = 1000,
) -> ViTCosts:
    """Counts parameters and FLOPs of many architectures at once.

    The network: patches, a class token and a table of positions, the blocks, a last layer norm and
    a linear classifier.

    Args:
        archs: one encoding a row.
        space: that they belong to.
        image_size: height and width in pixels.
        patch_size: height and width of a patch, which divides the image.
        in_channels: of the images.
        num_classes: outputs of the classifier.

    Returns:
        The counts, an entry an architecture.

    Raises:
        InputError: not encodings of the space, a size below 1, or an image that patches do not
            tile.

    Example:
        >>> int(population_costs([[0] * 30]).params[0])
        5273896
    """
    checked = genes.check_genes(archs, space.sizes)
    sizes = {"image_size": image_size, "patch_size": patch_size}
    check_sizes(**sizes, in_channels=in_channels, num_classes=num_classes)
    if image_size % patch_size:
        cure = f"give a multiple of patch_size={patch_size}"
        raise InputError("image_size", image_size, cure)
    patches, pixels = (image_size // patch_size) ** 2, in_channels * patch_size**2
    active = active_of(checked, space)[:, 2 : 2 + space.max_depth]
    width = genes.take(space.embed_dims, checked[:, 0])
    heads, ratios = _blocks(checked, space)
    hidden = (width[:, None] * ratios).astype(np.int64)
    attention = heads * space.head_dim if space.head_dim else width[:, None] + 0 * heads
    sizes = (np.broadcast_to(width[:, None], hidden.shape), attention, hidden)
    ends = (pixels + 1) * width + width + (patches + 1) * width + 2 * width
    head = (width + 1) * num_classes
    return ViTCosts(
        params=ends + head + (active * block_params(*sizes)).sum(1),
        flops=patches * pixels * width
        + width * num_classes
        + (active * block_flops(patches + 1, *sizes)).sum(1),
        depth=active.sum(1),
        width=width,
    )


def _blocks(
    archs: Int32[np.ndarray, "num genes"], space: Choices
) -> tuple[Int64[np.ndarray, "num blocks"], Float[np.ndarray, "num blocks"]]:
    """Returns heads and MLP ratios of every block, dormant ones too."""
    heads = genes.take(space.heads, archs[:, 2 : 2 + space.max_depth])
    ratios = np.array(space.mlp_ratios, np.float64)[archs[:, 2 + space.max_depth :]]
    return heads, ratios
