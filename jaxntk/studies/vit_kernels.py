"""Kernels of vision transformers of two spaces: on images, and on Fourier features of them.

One program is compiled for all of AutoFormer's space, and one for each shape class of PiT's, for
each shape of what the network sees. All architectures of a family share one draw of weights.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.fourier import FourierMap, fourier_images
from jaxntk.kernels.gram import layer_kernels
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.memory import MemoryEstimate, estimate_memory, executable_bytes
from jaxntk.kernels.memory_plan import check_memory
from jaxntk.kernels.outputs import Outputs, check_outputs
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.pit import PiT, class_params, widest
from jaxntk.networks.pit_classes import DEFAULT_CLASSES, class_of
from jaxntk.networks.precision import at_precision, check_x64
from jaxntk.networks.vit import Transformer, init_params, logits, num_genes
from jaxntk.spaces import autoformer, pit

FAMILIES = ("autoformer", "pit")


MAX_PROGRAMS = 16
"""Compiled programs that are kept. On a CPU each takes some 1,600 of the 65,530 memory mappings
that Linux grants a process; beyond them compilation fails, whatever memory is free."""


@dataclass(frozen=True, kw_only=True)
class ViTSettings:
    """Which kernel of a vision transformer is computed, and how.

    Args:
        num_classes: outputs of the classifier.
        outputs: ``sum`` of logits, ``trace`` over outputs, or ``class_balanced``.
        dtype: ``float32`` or ``float64``.
        matmul_precision: of products: ``highest``, or a lower one that JAX knows.
        tile: images computed at a time; None for all at once.
        space: the choices of AutoFormer.
        patch_size: of AutoFormer.
        num_shape_classes: programs of PiT.
        init_seed: of the weights.
        feature_seed: of the frequencies.
    """

    num_classes: int
    outputs: Outputs = "sum"
    dtype: Literal["float32", "float64"] = "float32"
    matmul_precision: str = "highest"
    tile: int | None = None
    space: autoformer.Choices = autoformer.VITBENCH101
    patch_size: int = 16
    num_shape_classes: int = DEFAULT_CLASSES
    init_seed: int = 0
    feature_seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what no kernel can be computed with.

        Raises:
            InputError: an argument that is wrong, or float64 without ``jax_enable_x64``.
        """
        if check_outputs(self.outputs) == "full":
            raise InputError("outputs", "full", "choose trace, sum or class_balanced")
        check_choice("dtype", self.dtype, ("float32", "float64"))
        at_precision(self.matmul_precision)
        check_x64(self.dtype)
        for name in ("num_classes", "patch_size", "num_shape_classes", "tile"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(name, value, "give at least 1")


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled kernel of all architectures of a family, or of one of its shape classes.

    Args:
        executable: ``(params, parts, arch) -> (n, n)``.
        estimate: the memory that was expected.
        compile_seconds: how long the compilation took.
    """

    executable: Callable[[Any, Array, Array], Array]
    estimate: MemoryEstimate
    compile_seconds: float


@dataclass(frozen=True, eq=False)
class ViTKernels:
    """Computes kernels of any architecture on one batch of images; compiles what it needs.

    Args:
        settings: the kernel wanted.
        x: standardised square images.
        say: told in a line of what is compiled.
    """

    settings: ViTSettings
    x: Float[np.ndarray, "n s s c"]
    say: Callable[[str], None] = lambda line: None
    _programs: dict[tuple, Program] = field(default_factory=dict)
    _compiled: list[float] = field(default_factory=list)
    _drawn: dict[tuple, Any] = field(default_factory=dict)
    _seen: dict[Any, Array] = field(default_factory=dict)

    def __call__(
        self, family: str, arch: Int[np.ndarray, " genes"], how: FourierMap | None = None
    ) -> Float[np.ndarray, "n n"]:
        """Returns the kernel of one architecture.

        Args:
            family: ``autoformer`` or ``pit``.
            arch: its encoding.
            how: what the network sees instead of images; None for the images themselves.

        Returns:
            The kernel on the host; of several parts (``bands``) the mean of their kernels.

        Raises:
            InputError: an unknown family, not an architecture, images that patches do not fit, or
                a kernel that does not fit into memory.
        """
        executable, params, parts = self._ready(family, arch, how)
        return np.asarray(executable(params, parts, jnp.asarray(arch, jnp.int32)))

    def prepare(
        self, family: str, arch: Int[np.ndarray, " genes"], how: FourierMap | None = None
    ) -> None:
        """Compiles, draws and first runs what a kernel needs, so that it can be timed.

        Args:
            family: as of a call, as are the next two.
            arch: its encoding.
            how: what the network sees instead of images.

        Raises:
            InputError: as a call does.
        """
        before = self.compilations
        executable, params, parts = self._ready(family, arch, how)
        if self.compilations > before:
            # The first run of a program takes longer than others.
            jax.block_until_ready(executable(params, parts, jnp.asarray(arch, jnp.int32)))

    def look(self, family: str, how: FourierMap | None = None) -> Float[Array, "parts n h w c"]:
        """Returns what the networks of a family see.

        Args:
            family: ``autoformer`` or ``pit``.
            how: what they see instead of images; None for the images themselves.

        Returns:
            One part, or one for each band.

        Raises:
            InputError: an unknown family, or a map that does not fit the images.
        """
        check_choice("family", family, FAMILIES)
        return self._parts(family, how)

    def _ready(
        self, family: str, arch: Int[np.ndarray, " genes"], how: FourierMap | None
    ) -> tuple[Callable[[Any, Array, Array], Array], Any, Array]:
        """Returns a program with its parameters and what the network sees."""
        check_choice("family", family, FAMILIES)
        parts = self._parts(family, how)
        network = self._network(family, arch, how)
        key = (network, parts.shape)
        if key not in self._programs:
            while len(self._programs) >= MAX_PROGRAMS:
                self._programs.pop(next(iter(self._programs)))
            self._programs[key] = self._compile(network, parts.shape)
            self._compiled.append(self._programs[key].compile_seconds)
        return self._programs[key].executable, self._draw(network, parts.shape[2:]), parts

    def on(self, x: Float[np.ndarray, "n s s c"]) -> "ViTKernels":
        """Returns the same kernels of other images; what is compiled and drawn is shared.

        Args:
            x: standardised square images.

        Returns:
            The kernels.
        """
        return replace(self, x=x, _seen={})

    def seeded(self, seed: int) -> "ViTKernels":
        """Returns the same kernels of other weights and frequencies; what is compiled is shared.

        Args:
            seed: of both.

        Returns:
            The kernels.
        """
        settings = replace(self.settings, init_seed=seed, feature_seed=seed)
        return replace(self, settings=settings, _drawn={}, _seen={})

    @property
    def compilations(self) -> int:
        """How many programs were compiled."""
        return len(self._compiled)

    def _parts(self, family: str, how: FourierMap | None) -> Array:
        """What the network sees: ``(parts, n, rows, columns, channels)``."""
        patch = self._patch(family)
        if (patch, how) not in self._seen:
            x = jnp.asarray(self.x, self.settings.dtype)
            key = jax.random.key(self.settings.feature_seed)
            seen = x[None] if how is None else fourier_images(x, key, how, patch)
            self._seen[patch, how] = seen
        return self._seen[patch, how]

    def _patch(self, family: str) -> tuple[int, int]:
        if family == "pit":
            return pit.PATCH_SIZE, pit.STRIDE
        return self.settings.patch_size, self.settings.patch_size

    def _network(
        self, family: str, arch: Int[np.ndarray, " genes"], how: FourierMap | None
    ) -> Transformer:
        content = how is not None and how.where == "patch_content"
        size, stride = (1, 1) if content else self._patch(family)
        settings = self.settings
        if family == "pit":
            shape = class_of(arch, settings.num_shape_classes)
            return PiT(settings.num_classes, shape, size, stride)
        _ = autoformer.decode(arch, settings.space)
        return AutoFormer(settings.space, settings.num_classes, size)

    def _draw(self, network: Transformer, image: tuple[int, ...]) -> Any:
        """Draws the weights of a family once; shape classes of PiT take their part of them."""
        if (network, image) in self._drawn:
            return self._drawn[network, image]
        if isinstance(network, PiT) and network.shape != widest():
            whole = self._draw(network.clone(shape=widest()), image)
            drawn = class_params(whole, network, image)
        else:
            key = jax.random.key(self.settings.init_seed)
            drawn = init_params(network, key, image, jnp.dtype(self.settings.dtype))
        self._drawn[network, image] = drawn
        return drawn

    def _compile(self, network: Transformer, shape: tuple[int, ...]) -> Program:
        settings = self.settings
        params = self._draw(network, shape[2:])
        program = jax.jit(partial(_mean_kernel, network, settings))
        shapes = (
            jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params),
            jax.ShapeDtypeStruct(shape, settings.dtype),
            jax.ShapeDtypeStruct((num_genes(network),), jnp.int32),
        )
        estimate = estimate_memory(program, *shapes)
        self.say(f"{type(network).__name__} on {shape[2:]}: memory {estimate}; compiling ...")
        start = time.perf_counter()
        executable = program.lower(*shapes).compile()
        check_memory(executable_bytes(executable), estimate.available, settings.tile)
        seconds = time.perf_counter() - start
        self.say(f"compiled in {seconds:.1f} s")
        return Program(executable, estimate, seconds)


def _mean_kernel(
    network: Transformer,
    settings: ViTSettings,
    params: Any,
    parts: Float[Array, "parts n h w c"],
    arch: Int[Array, " genes"],
) -> Float[Array, "n n"]:
    def apply_fn(params: Any, x: Array, arch: Array) -> Array:
        return logits(network, params, x, arch)

    def kernel(x: Array) -> Array:
        return total(
            layer_kernels(
                apply_fn, params, x, state=arch, outputs=settings.outputs, tile=settings.tile
            )
        )

    with at_precision(settings.matmul_precision):
        return lax.map(kernel, parts).mean(axis=0)
