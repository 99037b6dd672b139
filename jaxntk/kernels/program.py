"""From a cell of NAS-Bench-201 to its kernel and scores, with one compilation for all cells."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.coupled import coupled_kernels
from jaxntk.kernels.gram import layer_kernels, parameter_places
from jaxntk.kernels.layer_kernels import LayerKernels, total
from jaxntk.kernels.memory import MemoryEstimate, estimate_memory, executable_bytes
from jaxntk.kernels.outputs import Outputs, check_outputs
from jaxntk.kernels.parameters import ParameterChoice, Places
from jaxntk.networks.nasbench201 import (
    BatchNormMode,
    NasBench201,
    batch_statistics,
    init_variables,
)
from jaxntk.networks.precision import at_precision, check_x64
from jaxntk.spaces.nasbench201 import ArchLike, check_arch, is_connected

Precision = Literal["float32", "mixed", "float64"]
ACTIVATIONS: dict[Precision, str] = {"float32": "float32", "mixed": "float64", "float64": "float64"}
PARAMETERS: dict[Precision, str] = {"float32": "float32", "mixed": "float32", "float64": "float64"}

IMAGE_MULTIPLE = 4
"""What height and width, in pixels, are multiples of, so that they can be halved twice."""

BATCH_AXIS = "images"
"""Name of the axis over images, along which networks take statistics of the batch."""

KernelFn = Callable[[Any, Array, Array], LayerKernels]


@dataclass(frozen=True, kw_only=True)
class KernelSettings:
    """Which kernel of a network is computed, and how.

    Args:
        batch_norm: ``batch``, ``frozen`` or ``running``; see
            :class:`~jaxntk.networks.nasbench201.BatchNormMode`. There is no default.
        outputs: ``sum`` of logits, ``trace`` over outputs, or ``class_balanced``.
        parameters: which parameters enter: ``lga``, ``all`` or a rule on their path.
        dtype: ``float32``, ``float64``, or ``mixed``: activations in float64, derivatives and
            kernel in float32.
        tile: images (rows of the kernel) computed at a time; None for all at once.
        matmul_precision: of products and convolutions in the forward and the backward pass:
            ``highest``, or a lower one that JAX knows.
    """

    batch_norm: Literal["batch", "frozen", "running"]
    outputs: Outputs = "sum"
    parameters: ParameterChoice = "lga"
    dtype: Precision = "float32"
    tile: int | None = None
    matmul_precision: str = "highest"


@lru_cache(maxsize=32)
def kernel_places(network: NasBench201, image: tuple[int, ...], choice: ParameterChoice) -> Places:
    """Lists the parameters of a network that enter its kernel, without computing anything.

    Args:
        network: the network.
        image: height, width, channels of one image.
        choice: which parameters enter.

    Returns:
        Their paths and leading axes.

    Raises:
        InputError: an unknown choice, or one that no parameter satisfies.
    """
    frozen = network.clone(batch_norm=BatchNormMode.FROZEN, axis_name=BATCH_AXIS)
    draw = partial(init_variables, network, image_shape=image, dtype=jnp.dtype("float32"))
    shapes = jax.eval_shape(draw, jax.random.key(0))
    x = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    state = (network.choice, shapes["batch_stats"])
    return parameter_places(
        partial(_logits, frozen),
        shapes["params"],
        x,
        state=state,
        parameters=choice,
        batch_axis=BATCH_AXIS,
    )


def _logits(network: NasBench201, params: Any, x: Array, state: tuple[Any, Any]) -> Array:
    """Returns the logits; the state is what is chosen and the stored statistics."""
    choice, statistics = state
    return cast(Array, network.apply({"params": params, "batch_stats": statistics}, x, choice))


def _moments(network: NasBench201, variables: Any, x: Array, arch: Array) -> Any:
    """Returns the statistics of a batch, added up in the order that kernels without tiles do."""

    def of_one(image: Array) -> Any:
        return batch_statistics(network, variables, image[None], arch)["batch_stats"]

    each = jax.vmap(of_one, axis_name=network.axis_name)(x)
    return jax.tree.map(lambda moment: moment[0], each)


def check_settings(settings: KernelSettings, x_shape: tuple[int, ...]) -> None:
    """Checks a kernel's settings and the shape of the images it is to be computed on.

    Args:
        settings: the settings.
        x_shape: of the images.

    Raises:
        InputError: the first thing that is wrong.
    """
    choices = {"batch_norm": ("batch", "frozen", "running"), "dtype": tuple(ACTIVATIONS)}
    for name, known in choices.items():
        check_choice(name, getattr(settings, name), known)
    if check_outputs(settings.outputs) == "full":
        raise InputError("outputs", "full", "choose trace, sum or class_balanced")
    if settings.tile is not None and settings.tile < 1:
        raise InputError("tile", settings.tile, "give at least 1, or None")
    at_precision(settings.matmul_precision)
    check_x64(settings.dtype)
    if len(x_shape) != 4 or any(side == 0 or side % IMAGE_MULTIPLE for side in x_shape[1:3]):
        cure = f"give (n, height, width, channels), both sides multiples of {IMAGE_MULTIPLE} pixels"
        raise InputError("x", f"shape {x_shape}", cure)


def layer_kernel_fn(network: NasBench201, settings: KernelSettings, image: tuple) -> KernelFn:
    """Returns the pure function that computes the kernel of every chosen parameter.

    Args:
        network: the network; its own batch-normalisation mode is not used.
        settings: the kernel wanted.
        image: height, width, channels of one image.

    Returns:
        ``(variables, x, arch) -> {path: (*leading axes, n, n)}``, to be compiled by the caller.

    Raises:
        InputError: an unknown batch-normalisation mode or choice of parameters, or ``full``
            outputs, which give no kernel with a row an image.
    """
    check_settings(settings, (1, *image))
    mode = BatchNormMode(settings.batch_norm)
    exact, stored = (network.clone(batch_norm=each) for each in (mode, BatchNormMode.STORED))
    in_batch = exact.clone(axis_name=BATCH_AXIS)
    # A Flax module hashes by value, which pyright does not see.
    places = partial(kernel_places, network, image, settings.parameters)  # pyright: ignore[reportArgumentType]
    outputs, tile = settings.outputs, settings.tile

    def kernels(variables: Any, x: Array, arch: Array) -> LayerKernels:
        params, state = variables["params"], (arch, variables["batch_stats"])
        given = {"outputs": outputs, "parameters": settings.parameters}
        if mode.coupled:

            def apply_fn(params: Any, x: Array) -> Array:
                return _logits(exact, params, x, state)

            return coupled_kernels(apply_fn, params, x, places(), outputs=outputs, tile=tile)
        if tile is None or tile >= len(x):
            frozen = partial(_logits, in_batch)
            return layer_kernels(frozen, params, x, state=state, batch_axis=BATCH_AXIS, **given)
        # One pass over all images fixes the statistics; the tiles then use them as constants.
        statistics = _moments(in_batch, variables, x, arch)
        by_tiles = partial(_logits, stored)
        return layer_kernels(by_tiles, params, x, state=(arch, statistics), tile=tile, **given)

    def at_its_precision(variables: Any, x: Array, arch: Array) -> LayerKernels:
        with at_precision(settings.matmul_precision):
            return kernels(variables, x, arch)

    return at_its_precision


@dataclass(frozen=True, eq=False)
class KernelProgram:
    """The kernel of any cell on a batch of some shape, before it is compiled.

    Made by :func:`kernel_program`.

    Args:
        network: the network.
        settings: the kernel it computes.
        shapes: of variables, images and cell.
        fn: ``(variables, x, arch) -> (n, n)``, jitted; estimating and compiling share its trace.
        traces: grows by one whenever ``fn`` is traced.
    """

    network: NasBench201
    settings: KernelSettings
    shapes: tuple[Any, Any, Any]
    fn: jax.stages.Wrapped
    traces: list[None]

    def estimate(self) -> MemoryEstimate:
        """Returns the memory that the kernel will take, from shapes alone."""
        return estimate_memory(self.fn, *self.shapes)


def kernel_program(
    network: NasBench201, settings: KernelSettings, x_shape: tuple[int, ...]
) -> KernelProgram:
    """Prepares the kernel of a network for batches of one shape; computes nothing.

    Args:
        network: the network; its own batch-normalisation mode is not used.
        settings: the kernel wanted.
        x_shape: of the images, ``(n, height, width, channels)``.

    Returns:
        The program.

    Raises:
        InputError: float64 without ``jax_enable_x64``, or images that are no (n, h, w, c) array.
    """
    check_settings(settings, x_shape)
    kernels = layer_kernel_fn(network, settings, x_shape[1:])
    traces: list[None] = []

    def kernel(variables: Any, x: Array, arch: Array) -> Array:
        traces.append(None)
        return total(kernels(variables, x, arch))

    dtype = jnp.dtype(PARAMETERS[settings.dtype])
    draw = partial(init_variables, network, image_shape=x_shape[1:], dtype=dtype)
    shapes = (
        jax.eval_shape(draw, jax.random.key(0)),
        jax.ShapeDtypeStruct(x_shape, ACTIVATIONS[settings.dtype]),
        network.choice,
    )
    return KernelProgram(network, settings, shapes, jax.jit(kernel), traces)


@dataclass(frozen=True, eq=False)
class CompiledKernel:
    """The kernel of any cell on one batch of images, from one executable.

    Made by :func:`compile_kernel`; call it with a cell.

    Args:
        network: the network that was compiled.
        settings: the kernel it computes.
        x: the images, on the device.
        executable: ``(variables, x, arch) -> (n, n)``; takes these shapes only.
        compile_seconds: how long the compilation took.
        memory_bytes: what the executable will hold at once, as the compiler reports it: arguments,
            results and temporary arrays; None where the backend does not tell.
        compilations: how often the function was traced and compiled.
    """

    network: NasBench201
    settings: KernelSettings
    x: Float[Array, "n h w c"]
    executable: Callable[[Any, Array, Array], Array]
    compile_seconds: float
    memory_bytes: int | None
    compilations: int
    _variables: dict[int, Any] = field(default_factory=dict)

    def variables(self, init_seed: int) -> Any:
        """Returns the network's variables for an initialisation; the last ones drawn are kept.

        Args:
            init_seed: seed of the initialisation.

        Returns:
            The Flax collections ``params`` and ``batch_stats``.
        """
        if init_seed not in self._variables:
            self._variables.clear()
            self._variables[init_seed] = init_variables(
                self.network,
                jax.random.key(init_seed),
                self.x.shape[1:],
                jnp.dtype(PARAMETERS[self.settings.dtype]),
            )
        return self._variables[init_seed]

    def __call__(self, arch: ArchLike, init_seed: int = 0) -> Float[np.ndarray, "n n"]:
        """Returns the kernel of one cell.

        Args:
            arch: six operations, 0..4.
            init_seed: seed of the initialisation, shared by all cells.

        Returns:
            The kernel on the host, in the dtype it was computed in; see :func:`exact_zero`.

        Raises:
            InputError: not a cell.
        """
        return self.of(self.variables(init_seed), arch)

    def of(self, variables: Any, arch: ArchLike) -> Float[np.ndarray, "n n"]:
        """Returns the kernel of one cell at any weights, such as trained ones.

        Args:
            variables: the Flax collections ``params`` and ``batch_stats`` of one network.
            arch: six operations, 0..4.

        Returns:
            The kernel on the host, in the dtype it was computed in; see :func:`exact_zero`.

        Raises:
            InputError: not a cell.
        """
        cell = check_arch(arch)
        gram = self.executable(variables, self.x, jnp.asarray(cell))
        return exact_zero(self.settings.parameters, cell, np.asarray(gram))


def compile_kernel(
    network: NasBench201, settings: KernelSettings, x: Float[np.ndarray, "n h w c"]
) -> CompiledKernel:
    """Compiles the kernel of a network for one batch of images.

    Args:
        network: the network; its own batch-normalisation mode is not used.
        settings: the kernel wanted.
        x: the images, standardised.

    Returns:
        A function of the cell.

    Raises:
        InputError: float64 without ``jax_enable_x64``, or images that are no (n, h, w, c) array.
    """
    return compile_program(kernel_program(network, settings, x.shape), x)


def compile_program(program: KernelProgram, x: Float[np.ndarray, "n h w c"]) -> CompiledKernel:
    """Compiles a prepared kernel.

    Args:
        program: the kernel.
        x: the images, standardised, of the shape that it was prepared for.

    Returns:
        A function of the cell.
    """
    images = jnp.asarray(x, ACTIVATIONS[program.settings.dtype])
    start = time.perf_counter()
    executable = program.fn.lower(*program.shapes).compile()
    seconds = time.perf_counter() - start
    return CompiledKernel(
        program.network,
        program.settings,
        images,
        executable,
        seconds,
        executable_bytes(executable),
        len(program.traces),
    )


def exact_zero(
    parameters: ParameterChoice, arch: Int[np.ndarray, "6"], gram_NxN: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, "n n"]:
    """Returns the kernel of a cell, with what is exactly zero set to zero.

    The output of a cell without a path from input to output is constant, so the weights that enter
    LGA have no gradient. In floating point batch normalisation turns the rounding of a constant
    channel into a kernel of about 1e-20, which no threshold tells from a small one.

    Args:
        parameters: those that enter.
        arch: the cell.
        gram_NxN: its kernel as computed.

    Returns:
        The kernel, or zeros.
    """
    if parameters == "lga" and not is_connected(arch):
        return np.zeros_like(gram_NxN)
    return gram_NxN
