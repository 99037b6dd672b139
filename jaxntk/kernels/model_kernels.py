"""Kernels of any architecture of a model, on images or Fourier features of them.

What is compiled is kept: one program for each network that the model needs (one for all cells, one
for each shape class of PiT's) and each shape of what the network sees. All architectures share one
draw of weights.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxntk.errors import InputError
from jaxntk.kernels.fourier import FourierMap, fourier_images
from jaxntk.kernels.memory import readable
from jaxntk.kernels.memory_plan import check_memory, plan_memory
from jaxntk.kernels.program import CompiledKernel, compile_program, exact_zero
from jaxntk.kernels.settings import ACTIVATIONS, PARAMETERS, KernelSettings, check_settings
from jaxntk.networks.model import Model, check_arch

MAX_PROGRAMS = 16
"""Compiled programs that are kept. On a CPU each takes some 1,600 of the 65,530 memory mappings
that Linux grants a process; beyond them compilation fails, whatever memory is free."""

Arch = Shaped[np.ndarray, "*genes"]


class Compiled(NamedTuple):
    """What compiling one program took.

    Args:
        name: of the program, the same in every run.
        tile: images computed at a time.
        seconds: of the compilation.
        memory_bytes: what it will hold at once; None where the backend does not tell.
    """

    name: str
    tile: int
    seconds: float
    memory_bytes: int | None


@dataclass(frozen=True, eq=False)
class ModelKernels:
    """Computes kernels of any architecture on one batch of images; compiles what it needs.

    Args:
        model: the network.
        settings: the kernel wanted. Without a tile, as many images are computed at a time as fit
            into memory.
        x: standardised images.
        init_seed: of the weights, where a call names no other.
        feature_seed: of the frequencies of Fourier features.
        say: told in a line of what is compiled.
        tiles: those that programs began with in an earlier run, by their names: tiles change the
            rounding.
        note: told of each program once it is compiled.
        compiled: all of them so far.

    Example:
        >>> from jaxntk.networks.nasbench201 import NasBench201
        >>> from jaxntk.networks.nasbench201_model import cell_model
        >>> x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
        >>> frozen = KernelSettings(batch_norm="frozen")
        >>> kernels = ModelKernels(cell_model(NasBench201(3, 2, 1)), frozen, x)
        >>> kernels(np.array([3, 1, 0, 2, 0, 1])).shape, kernels.compilations
        ((4, 4), 1)
    """

    model: Model
    settings: KernelSettings
    x: Float[np.ndarray, "n h w c"]
    init_seed: int = 0
    feature_seed: int = 0
    say: Callable[[str], None] = lambda line: None
    tiles: Mapping[str, int] = field(default_factory=dict)
    note: Callable[[Compiled], None] = lambda compiled: None
    compiled: list[Compiled] = field(default_factory=list)
    _programs: dict[tuple, CompiledKernel] = field(default_factory=dict)
    _drawn: dict[tuple, tuple[int, Any]] = field(default_factory=dict)
    _parts: dict[Any, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuses what no kernel can be computed with.

        Raises:
            InputError: settings or images that are wrong.
        """
        check_settings(self.model, self.settings, self.x.shape)

    def __call__(
        self, arch: Arch, how: FourierMap | None = None, *, init_seed: int | None = None
    ) -> Float[np.ndarray, "n n"]:
        """Returns the kernel of one architecture at initialisation.

        Args:
            arch: its encoding.
            how: what the network sees instead of images; None for the images themselves.
            init_seed: of the weights; None for that of these kernels.

        Returns:
            The kernel on the host, exactly zero where it has to be; of several parts (``bands``)
            the mean of their kernels.

        Raises:
            InputError: no architecture, images that the network does not take, or a kernel that
                does not fit into memory.
        """
        chosen = check_arch(self.model, arch)
        program, parts = self._ready(chosen, how)
        variables = self._variables(program.model, parts.shape[-3:], init_seed)
        return self._run(program, variables, parts, chosen)

    def at(
        self, variables: Any, arch: Arch, how: FourierMap | None = None
    ) -> Float[np.ndarray, "n n"]:
        """Returns the kernel of one architecture at any weights, such as trained ones.

        Args:
            variables: the Flax collections ``params`` and ``batch_stats`` of all architectures.
            arch: its encoding.
            how: what the network sees instead of images.

        Returns:
            The kernel, as a call does.

        Raises:
            InputError: as a call does.
        """
        chosen = check_arch(self.model, arch)
        program, parts = self._ready(chosen, how)
        own = program.model.take(variables, parts.shape[-3:])
        return self._run(program, own, parts, chosen)

    def compile(self, arch: Arch, how: FourierMap | None = None) -> None:
        """Compiles what a kernel needs, if it is not there yet; draws and runs nothing.

        Args:
            arch: an encoding.
            how: what the network sees instead of images.

        Raises:
            InputError: as a call does.
        """
        self._ready(check_arch(self.model, arch), how)

    def prepare(
        self, arch: Arch, how: FourierMap | None = None, *, init_seed: int | None = None
    ) -> None:
        """Compiles, draws and first runs what a kernel needs, so that it can be timed.

        Args:
            arch: its encoding.
            how: what the network sees instead of images.
            init_seed: of the weights; None for that of these kernels.

        Raises:
            InputError: as a call does.
        """
        before = self.compilations
        program, parts = self._ready(check_arch(self.model, arch), how)
        variables = self._variables(program.model, parts.shape[-3:], init_seed)
        if self.compilations > before:
            # The first run of a program takes longer than others.
            self._run(program, variables, parts, check_arch(self.model, arch))

    def see(self, how: FourierMap | None = None) -> Float[Array, "*parts n h w c"]:
        """Returns what the network sees.

        Args:
            how: what it sees instead of images; None for the images themselves.

        Returns:
            The images, or parts of them whose kernels' mean is taken.

        Raises:
            InputError: a map that does not fit the images or the network.
        """
        if how not in self._parts:
            x = jnp.asarray(self.x, ACTIVATIONS[self.settings.dtype])
            if how is not None:
                patch = self.model.patch
                if patch is None and how.where == "patch_content":
                    cure = "choose pixel_values, coordinates or bands: this network has no patches"
                    raise InputError("where", how.where, cure)
                key = jax.random.key(self.feature_seed)
                x = fourier_images(x, key, how, patch or (1, 1))
            self._parts[how] = x
        return self._parts[how]

    def tile(self, arch: Arch, how: FourierMap | None = None) -> int:
        """Returns how many images are computed at a time.

        Args:
            arch: an encoding.
            how: what the network sees.

        Returns:
            The number.

        Raises:
            InputError: as a call does.
        """
        program, _ = self._ready(check_arch(self.model, arch), how)
        return min(program.settings.tile or len(self.x), len(self.x))

    def on(self, x: Float[np.ndarray, "n h w c"]) -> "ModelKernels":
        """Returns the same kernels of other images; what is compiled and drawn is shared.

        Args:
            x: standardised images.

        Returns:
            The kernels.
        """
        return replace(self, x=x, _parts={})

    def seeded(self, seed: int) -> "ModelKernels":
        """Returns the same kernels of other weights and frequencies; what is compiled is shared.

        Args:
            seed: of both.

        Returns:
            The kernels.
        """
        return replace(self, init_seed=seed, feature_seed=seed, _drawn={}, _parts={})

    @property
    def compilations(self) -> int:
        """How many programs were compiled."""
        return len(self.compiled)

    def _run(
        self, program: CompiledKernel, variables: Any, parts: Array, arch: Arch
    ) -> Float[np.ndarray, "n n"]:
        gram = program.executable(variables, parts, jnp.asarray(arch))
        return exact_zero(program.model, self.settings.parameters, arch, np.asarray(gram))

    def _ready(self, arch: Arch, how: FourierMap | None) -> tuple[CompiledKernel, Array]:
        """Returns a program and what the network sees."""
        parts = self.see(how)
        model = self.model.program(self.model, arch)
        if how is not None and how.where == "patch_content":
            assert model.of_content is not None
            model = model.of_content()
        key = (model.network, parts.shape)
        if key not in self._programs:
            while len(self._programs) >= MAX_PROGRAMS:
                self._programs.pop(next(iter(self._programs)))
            self._programs[key] = self._compile(model, parts)
        return self._programs[key], parts

    def _variables(self, model: Model, image: tuple[int, ...], seed: int | None) -> Any:
        """Draws the weights of a network; those of the last seed are kept."""
        wanted, key = self.init_seed if seed is None else seed, (model.network, image)
        if key not in self._drawn or self._drawn[key][0] != wanted:
            self._drawn.pop(key, None)
            drawn = model.draw(wanted, image, jnp.dtype(PARAMETERS[self.settings.dtype]))
            self._drawn[key] = (wanted, drawn)
        return self._drawn[key][1]

    def _compile(self, model: Model, parts: Array) -> CompiledKernel:
        name, n = program_name(model, parts.shape), len(self.x)
        settings = replace(self.settings, tile=self.tiles.get(name, self.settings.tile))
        program, estimate = plan_memory(model, settings, parts.shape)
        sides = " x ".join(map(str, parts.shape[-3:]))
        self.say(f"kernel on images of {sides}: memory, estimated from shapes: {estimate}")
        tile = program.settings.tile
        if tile is not None and tile != settings.tile:
            self.say(f"tile: {tile} of {n} images at a time, as all do not fit")
        self.say("compiling, once for all architectures ...")
        kernel = compile_program(program, parts)
        check_memory(kernel.memory_bytes, estimate.available, tile)
        self.compiled.append(
            Compiled(name, min(tile or n, n), kernel.compile_seconds, kernel.memory_bytes)
        )
        self.note(self.compiled[-1])
        needs = (
            "" if kernel.memory_bytes is None else f"; it will hold {readable(kernel.memory_bytes)}"
        )
        self.say(f"compiled in {kernel.compile_seconds:.1f} s{needs}")
        return kernel


def program_name(model: Model, shape: tuple[int, ...]) -> str:
    """Names a program, the same in every process.

    Args:
        model: its network.
        shape: of what it sees.

    Returns:
        A digest of both.
    """
    return hashlib.sha256(f"{model.network!r} {shape}".encode()).hexdigest()[:12]
