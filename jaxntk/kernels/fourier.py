r"""ViNTK: the kernel of a network that sees Fourier features of its input. A reconstruction.

Zhou and Zhu (ICASSP 2024, arXiv 2405.04536) find that the neural tangent kernel of a vision
transformer reflects how low-frequency signals are learned and no others, and integrate Fourier
features of the input into the kernel.
That much is known here; where the features act, how the kernels combine and which number is read
off are not. What follows offers each choice by its name. The features are those of Tancik et al.,

.. math:: \gamma(v) = [\cos(2 \pi B v), \sin(2 \pi B v)], \qquad B \sim N(0, \sigma^2)

and the kernel of the transformer on features is that of the same transformer with as many input
channels as there are features.

==================  ========================================================================
where               what ``v`` is
==================  ========================================================================
``pixel_values``    the channels of a pixel, so that every pixel becomes 2m numbers
``patch_content``   the numbers of a patch, divided by the root of how many there are, so that
                    every patch becomes 2m numbers and sigma means the same for any patch size
``coordinates``     row and column of a pixel, in parts of the image's height and width; the
                    features are channels beside the pixel's own
``bands``           no features: the image is split into rings of spatial frequency, and the
                    kernel is the mean of the kernels of the parts
==================  ========================================================================

With K the kernel of the network and F the one above, weights u and w, the ViNTK is F itself
(``fourier_only``), ``u K + w F`` (``sum``) or ``K^u F^w`` entry by entry (``product``; powers that
are no whole numbers need entries that are not negative).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxntk.errors import InputError, check_choice
from jaxntk.networks.vit_layers import patches

Where = Literal["pixel_values", "patch_content", "coordinates", "bands"]
Combination = Literal["fourier_only", "sum", "product"]


@dataclass(frozen=True, kw_only=True)
class FourierMap:
    """What the network sees instead of an image.

    Args:
        where: see the module.
        num_features: m, frequencies that are drawn; there are 2m features.
        sigma: standard deviation of the frequencies, in cycles for a unit of v.
        num_bands: rings of ``bands``.
    """

    where: Where | str
    num_features: int = 16
    sigma: float = 1.0
    num_bands: int = 4

    def __post_init__(self) -> None:
        """Refuses what is no map.

        Raises:
            InputError: an argument that is wrong.
        """
        check_choice("where", self.where, get_args(Where))
        for name in ("num_features", "num_bands"):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "give at least 1")
        if not (np.isfinite(self.sigma) and self.sigma >= 0):
            raise InputError("sigma", self.sigma, "give a finite number, 0 or more")

    def __str__(self) -> str:
        if self.where == "bands":
            return f"bands:num={self.num_bands}"
        return f"{self.where}:sigma={_number(self.sigma)}:features={self.num_features}"

    @classmethod
    def parse(cls, text: str) -> "FourierMap":
        """Reads a map as ``str`` writes it; what is left out is the default.

        Args:
            text: such as ``pixel_values:sigma=2:features=8`` or ``bands:num=4``.

        Returns:
            The map.

        Raises:
            InputError: an unknown place, a setting that it does not have, or one out of range.

        Example:
            >>> FourierMap.parse("coordinates:sigma=2")
            FourierMap(where='coordinates', num_features=16, sigma=2.0, num_bands=4)
        """
        where, *settings = text.split(":")
        check_choice("where", where, get_args(Where))
        known = {"num": ("num_bands", int)} if where == "bands" else _SETTINGS
        values: dict[str, Any] = {}
        for setting in settings:
            name, _, value = setting.partition("=")
            check_choice(f"setting of {where}", name, known)
            field, kind = known[name]
            if field in values:
                raise InputError(name, text, "give it once")
            try:
                values[field] = kind(value)
            except ValueError as error:
                got = f"{value!r} in {text!r}"
                raise InputError(name, got, f"give a number, as in {name}=2") from error
        return cls(where=where, **values)


_SETTINGS: dict[str, tuple[str, type]] = {
    "sigma": ("sigma", float),
    "features": ("num_features", int),
}


@dataclass(frozen=True, kw_only=True)
class ViNTK:
    """One of the kernels that may be meant by ViNTK.

    Args:
        map: what the network sees.
        combine: how its kernel and that of the network on images become one.
        weights: of the kernel on images and of the other: factors in a sum, powers in a product.
    """

    map: FourierMap
    combine: Combination | str = "fourier_only"
    weights: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        """Refuses what is no kernel.

        Raises:
            InputError: an unknown combination, or weights that are negative or both 0.
        """
        check_choice("combine", self.combine, get_args(Combination))
        weights = np.asarray(self.weights, np.float64)
        bad = weights.shape != (2,) or not np.isfinite(weights).all()
        if bad or weights.min() < 0 or weights.max() == 0:
            cure = "give two numbers of 0 or more, not both 0"
            raise InputError("weights", list(self.weights), cure)
        if self.combine == "fourier_only" and self.weights != (1.0, 1.0):
            cure = "give none: fourier_only is one kernel"
            raise InputError("weights", list(self.weights), cure)

    def __str__(self) -> str:
        numbers = ",".join(map(_number, self.weights))
        given = "" if self.weights == (1.0, 1.0) else f":{numbers}"
        return f"{self.map}/{self.combine}{given}"

    @classmethod
    def parse(cls, text: str) -> "ViNTK":
        """Reads a kernel as ``str`` writes it.

        Args:
            text: a map, a slash, a combination and, if they are not 1, the weights.

        Returns:
            The kernel.

        Raises:
            InputError: what is no map, no combination or no pair of weights.

        Example:
            >>> print(ViNTK.parse("bands:num=3/sum:1,0.5"))
            bands:num=3/sum:1,0.5
        """
        name, slash, rest = text.partition("/")
        combine, colon, numbers = rest.partition(":")
        cure = "give a map and a combination, as in pixel_values:sigma=1/sum:1,0.5"
        if not slash:
            raise InputError("vintk", text, cure)
        try:
            weights = tuple(float(each) for each in numbers.split(",")) if colon else (1.0, 1.0)
        except ValueError as error:
            raise InputError("vintk", text, cure) from error
        if len(weights) != 2:
            raise InputError("vintk", text, cure)
        return cls(map=FourierMap.parse(name), combine=combine, weights=weights)


def frequencies(
    key: PRNGKeyArray, num_features: int, dim: int, sigma: float
) -> Float[Array, "m dim"]:
    """Draws B of the module's formula.

    Args:
        key: a JAX random key.
        num_features: m.
        dim: entries of v.
        sigma: standard deviation.

    Returns:
        The frequencies, float32 whatever the precision, so that a key means one map.
    """
    return jnp.float32(sigma) * jax.random.normal(key, (num_features, dim), jnp.float32)


def fourier_features(
    v: Float[Array, "*batch dim"], b_MxD: Float[Array, "m dim"]
) -> Float[Array, "*batch features"]:
    """Returns ``[cos(2 pi B v), sin(2 pi B v)]``.

    Args:
        v: vectors.
        b_MxD: frequencies, in cycles for a unit of v.

    Returns:
        2m features of each, in the dtype of v.

    Source:
        Tancik et al., "Fourier features let networks learn high frequency functions in low
        dimensional domains", NeurIPS 2020, arXiv 2006.10739.

    Example:
        >>> fourier_features(jnp.array([[0.5]]), jnp.array([[1.0]])).round(6).tolist()
        [[-1.0, -0.0]]
    """
    # Phases of many cycles: accelerators would round the factors of the product.
    turns = jnp.einsum("...d,md->...m", v, b_MxD.astype(v.dtype), precision="highest")
    phase = 2 * jnp.pi * turns
    return jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=-1)


def fourier_images(
    x: Float[Array, "n h w c"], key: PRNGKeyArray, how: FourierMap, patch: tuple[int, int]
) -> Float[Array, "parts n h2 w2 c2"]:
    """Returns what the network sees instead of images.

    Args:
        x: standardised images.
        key: of the frequencies; ``bands`` does not use it.
        how: the map.
        patch: side of the network's patches and the stride from one to the next, in pixels.

    Returns:
        One part, or one for each band; ``patch_content`` has a pixel where there was a patch.

    Raises:
        InputError: ``patch_content`` of images smaller than a patch.
    """
    if how.where == "bands":
        return bands(x, how.num_bands)
    num, sigma = how.num_features, how.sigma
    if how.where == "pixel_values":
        return fourier_features(x, frequencies(key, num, x.shape[-1], sigma))[None]
    if how.where == "coordinates":
        n, h, w, _ = x.shape
        places = jnp.stack(
            jnp.meshgrid(jnp.arange(h) / h, jnp.arange(w) / w, indexing="ij"), axis=-1
        )
        features = fourier_features(places.astype(x.dtype), frequencies(key, num, 2, sigma))
        beside = jnp.broadcast_to(features, (n, h, w, 2 * num))
        return jnp.concatenate([x, beside], axis=-1)[None]
    size, stride = patch
    cut = patches(x, size, stride)
    dim, rows = cut.shape[-1], (x.shape[1] - size) // stride + 1
    v = (cut / jnp.asarray(dim, x.dtype) ** 0.5).reshape(len(x), rows, -1, dim)
    return fourier_features(v, frequencies(key, num, dim, sigma))[None]


def bands(x: Float[Array, "n h w c"], num_bands: int) -> Float[Array, "bands n h w c"]:
    """Splits images into rings of spatial frequency, which add up to them.

    Frequencies are measured in cycles a pixel, 0 to sqrt(1/2). The rings are equally wide up to
    1/2, the highest frequency along an axis; the last one takes the corners too.

    Args:
        x: images.
        num_bands: rings.

    Returns:
        The parts, from low to high frequencies.

    Raises:
        InputError: no ring, or so many that one of them holds no frequency of the images.

    Example:
        >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
        >>> bool(jnp.allclose(bands(x, 3).sum(axis=0), x, atol=1e-5))
        True
    """
    h, w = x.shape[1:3]
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None, :])
    # What lies on a boundary belongs above it, whichever way its radius was rounded.
    ring = np.minimum(np.floor(radius * 2 * num_bands + 1e-9).astype(int), num_bands - 1)
    if num_bands < 1 or len(np.unique(ring)) < num_bands:
        cure = f"give 1 or more, few enough for images of {h} x {w}: a ring must not be empty"
        raise InputError("num_bands", num_bands, cure)
    spectrum = jnp.fft.fft2(x, axes=(1, 2))
    masks = jnp.asarray(ring[None] == np.arange(num_bands)[:, None, None])[:, None, :, :, None]
    parts = jnp.fft.ifft2(jnp.where(masks, spectrum[None], 0), axes=(2, 3)).real
    return parts.astype(x.dtype)


def combine(
    plain_NxN: Float[np.ndarray, "n n"], fourier_NxN: Float[np.ndarray, "n n"], how: ViNTK
) -> Float[np.ndarray, "n n"]:
    """Makes a ViNTK of two kernels.

    Args:
        plain_NxN: of the network on images; not used by ``fourier_only``.
        fourier_NxN: of the network on what the map gives.
        how: the combination.

    Returns:
        The kernel, positive semi-definite if both are (of a product, if both powers are whole).

    Raises:
        InputError: a power that is no whole number, of a kernel with negative entries.

    Example:
        >>> how = ViNTK.parse("pixel_values/sum:1,0.5")
        >>> combine(np.eye(2), np.ones((2, 2)), how).tolist()
        [[1.5, 0.5], [0.5, 1.5]]
    """
    u, w = how.weights
    if how.combine == "fourier_only":
        return fourier_NxN
    if how.combine == "sum":
        return u * plain_NxN + w * fourier_NxN
    for power, kernel in ((u, plain_NxN), (w, fourier_NxN)):
        if power != int(power) and (kernel < 0).any():
            cure = "give whole numbers: the kernel has negative entries"
            raise InputError("weights", list(how.weights), cure)
    return plain_NxN**u * fourier_NxN**w


def vintk_kernel(
    kernel: Callable[[FourierMap | None], Float[np.ndarray, "n n"]], how: ViNTK | None
) -> Float[np.ndarray, "n n"]:
    """Returns a ViNTK, or the NTK itself, from a function that computes kernels.

    Args:
        kernel: of the network on what a map gives; on images for None. It is asked for what the
            combination needs only.
        how: the ViNTK; None for the NTK.

    Returns:
        The kernel, in float64: products of float32 may leave its range.

    Raises:
        InputError: a power that is no whole number, of a kernel with negative entries.
    """
    if how is None:
        return np.asarray(kernel(None), np.float64)
    fourier = np.asarray(kernel(how.map), np.float64)
    if how.combine == "fourier_only":
        return fourier
    return combine(np.asarray(kernel(None), np.float64), fourier, how)


NTK = "ntk"
"""Names the kernel on images, beside the ViNTKs."""


def named_kernel(text: str) -> ViNTK | None:
    """Reads which kernel is meant.

    Args:
        text: ``ntk``, or a ViNTK as :meth:`ViNTK.parse` reads it.

    Returns:
        The ViNTK; None for the NTK itself.

    Raises:
        InputError: neither.

    Example:
        >>> named_kernel("ntk") is None, str(named_kernel("bands:num=4/sum"))
        (True, 'bands:num=4/sum')
    """
    return None if text == NTK else ViNTK.parse(text)


def _number(value: float) -> str:
    """Writes a number so that it is read as the same one; whole ones without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))
