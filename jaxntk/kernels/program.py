"""From a model to the kernel of any of its architectures, with one compilation for all of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped

from jaxntk.kernels.coupled import coupled_kernels
from jaxntk.kernels.gram import layer_kernels, parameter_places
from jaxntk.kernels.layer_kernels import LayerKernels, total
from jaxntk.kernels.memory import MemoryEstimate, estimate_memory, executable_bytes
from jaxntk.kernels.parameters import ParameterChoice, Places
from jaxntk.kernels.settings import ACTIVATIONS, PARAMETERS, KernelSettings, check_settings
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.model import Model, Statistics, check_arch
from jaxntk.networks.precision import at_precision

BATCH_AXIS = "images"
"""Name of the axis over images, along which networks take statistics of the batch."""

KernelFn = Callable[[Any, Array, Array], LayerKernels]


def kernel_places(model: Model, image: tuple[int, ...], choice: ParameterChoice) -> Places:
    """Lists the parameters of a network that enter its kernel, without computing anything.

    Args:
        model: the network.
        image: height, width, channels of one image.
        choice: which parameters enter.

    Returns:
        Their paths and leading axes.

    Raises:
        InputError: an unknown choice, or one that no parameter satisfies.
    """
    return _places(model, image, choice)


@lru_cache(maxsize=32)
def _places(model: Model, image: tuple[int, ...], choice: ParameterChoice) -> Places:
    shapes = _variables_of(model, image, jnp.dtype("float32"))
    x = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    state = (model.choice, shapes["batch_stats"])
    return parameter_places(
        _apply_fn(model, BatchNormMode.FROZEN, BATCH_AXIS),
        shapes["params"],
        x,
        state=state,
        parameters=choice,
        batch_axis=BATCH_AXIS,
    )


def _variables_of(model: Model, image: tuple[int, ...], dtype: jnp.dtype) -> Any:
    """Shapes and dtypes of the variables of a model."""
    return jax.eval_shape(lambda: model.draw(0, image, dtype))


def _apply_fn(
    model: Model, mode: BatchNormMode, axis: str | None
) -> Callable[[Any, Array, tuple[Any, Any]], Array]:
    """Returns logits as a function of parameters; the state is what is chosen and stored."""
    logits = model.apply(mode, axis)

    def apply_fn(params: Any, x: Array, state: tuple[Any, Any]) -> Array:
        choice, statistics = state
        return logits({"params": params, "batch_stats": statistics}, x, choice)

    return apply_fn


def _moments(statistics: Statistics, axis: str, variables: Any, x: Array, arch: Array) -> Any:
    """Returns the statistics of a batch, added up in the order that kernels without tiles do."""

    def of_one(image: Array) -> Any:
        return statistics(variables, image[None], arch)

    each = jax.vmap(of_one, axis_name=axis)(x)
    return jax.tree.map(lambda moment: moment[0], each)


def layer_kernel_fn(model: Model, settings: KernelSettings, image: tuple) -> KernelFn:
    """Returns the pure function that computes the kernel of every chosen parameter.

    Args:
        model: the network.
        settings: the kernel wanted.
        image: height, width, channels of one image.

    Returns:
        ``(variables, x, arch) -> {path: (*leading axes, n, n)}``, to be compiled by the caller.

    Raises:
        InputError: an unknown batch-normalisation mode or choice of parameters, or ``full``
            outputs, which give no kernel with a row an image.
    """
    check_settings(model, settings, (1, *image))
    mode = settings.mode
    of_batch = mode is BatchNormMode.FROZEN
    given = {"outputs": settings.outputs, "parameters": settings.parameters}
    in_batch = _apply_fn(model, mode, BATCH_AXIS if of_batch else None)

    def kernels(variables: Any, x: Array, arch: Array) -> LayerKernels:
        params, state = variables["params"], (arch, variables["batch_stats"])
        tile = None if settings.tile is None or settings.tile >= len(x) else settings.tile
        if mode.coupled:
            places = kernel_places(model, image, settings.parameters)
            apply_fn = partial(_with_state, in_batch, state)
            outputs = settings.outputs
            return coupled_kernels(apply_fn, params, x, places, outputs=outputs, tile=settings.tile)
        if tile is None:
            axis = BATCH_AXIS if of_batch else None
            return layer_kernels(in_batch, params, x, state=state, batch_axis=axis, **given)
        if of_batch:
            # One pass over all images fixes the statistics; the tiles use them as constants.
            assert model.statistics is not None
            moments = _moments(model.statistics(BATCH_AXIS), BATCH_AXIS, variables, x, arch)
            state = (arch, moments)
        stored = _apply_fn(model, BatchNormMode.STORED, None)
        return layer_kernels(stored, params, x, state=state, tile=tile, **given)

    def at_its_precision(variables: Any, x: Array, arch: Array) -> LayerKernels:
        with at_precision(settings.matmul_precision):
            return kernels(variables, x, arch)

    return at_its_precision


def _with_state(apply_fn: Callable[..., Array], state: Any, params: Any, x: Array) -> Array:
    return apply_fn(params, x, state)


def kernel_fn(
    model: Model, settings: KernelSettings, x_shape: tuple[int, ...]
) -> Callable[[Any, Array, Array], Array]:
    """Returns the pure function that computes the kernel of an architecture.

    Args:
        model: the network.
        settings: the kernel wanted.
        x_shape: of the images, or of the parts that the network sees of them, ``(parts, n, height,
            width, channels)``, whose kernels' mean is taken.

    Returns:
        ``(variables, x, arch) -> (n, n)``.

    Raises:
        InputError: settings or images that are wrong.
    """
    check_settings(model, settings, x_shape)
    layers = layer_kernel_fn(model, settings, x_shape[-3:])

    def kernel(variables: Any, x: Array, arch: Array) -> Float[Array, "n n"]:
        if x.ndim == 4:
            return total(layers(variables, x, arch))
        return lax.map(lambda part: total(layers(variables, part, arch)), x).mean(axis=0)

    return kernel


@dataclass(frozen=True, eq=False)
class KernelProgram:
    """The kernel of any architecture on a batch of some shape, before it is compiled.

    Made by :func:`kernel_program`.

    Args:
        model: the network.
        settings: the kernel it computes.
        shapes: of variables, images and architecture.
        fn: ``(variables, x, arch) -> (n, n)``, jitted; estimating and compiling share its trace.
        traces: grows by one whenever ``fn`` is traced.
    """

    model: Model
    settings: KernelSettings
    shapes: tuple[Any, Any, Any]
    fn: jax.stages.Wrapped
    traces: list[None]

    def estimate(self) -> MemoryEstimate:
        """Returns the memory that the kernel will take, from shapes alone."""
        return estimate_memory(self.fn, *self.shapes)


def kernel_program(
    model: Model, settings: KernelSettings, x_shape: tuple[int, ...]
) -> KernelProgram:
    """Prepares the kernel of a network for batches of one shape; computes nothing.

    Args:
        model: the network.
        settings: the kernel wanted.
        x_shape: of the images or their parts, as :func:`kernel_fn` takes it.

    Returns:
        The program.

    Raises:
        InputError: settings or images that are wrong.
    """
    of = kernel_fn(model, settings, x_shape)
    traces: list[None] = []

    def kernel(variables: Any, x: Array, arch: Array) -> Array:
        traces.append(None)
        return of(variables, x, arch)

    shapes = (
        _variables_of(model, x_shape[-3:], jnp.dtype(PARAMETERS[settings.dtype])),
        jax.ShapeDtypeStruct(x_shape, ACTIVATIONS[settings.dtype]),
        model.choice,
    )
    return KernelProgram(model, settings, shapes, jax.jit(kernel), traces)


@dataclass(frozen=True, eq=False)
class CompiledKernel:
    """The kernel of any architecture on one batch of images, from one executable.

    Made by :func:`compile_kernel`; call it with an architecture.

    Args:
        model: the network that was compiled.
        settings: the kernel it computes.
        x: the images, on the device.
        executable: ``(variables, x, arch) -> (n, n)``; takes these shapes only.
        compile_seconds: how long the compilation took.
        memory_bytes: what the executable will hold at once, as the compiler reports it: arguments,
            results and temporary arrays; None where the backend does not tell.
        compilations: how often the function was traced and compiled.
    """

    model: Model
    settings: KernelSettings
    x: Float[Array, "*parts n h w c"]
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
            dtype = jnp.dtype(PARAMETERS[self.settings.dtype])
            self._variables[init_seed] = self.model.draw(init_seed, self.x.shape[-3:], dtype)
        return self._variables[init_seed]

    def __call__(
        self, arch: Shaped[np.ndarray, "*genes"], init_seed: int = 0
    ) -> Float[np.ndarray, "n n"]:
        """Returns the kernel of one architecture.

        Args:
            arch: its encoding.
            init_seed: seed of the initialisation, shared by all architectures.

        Returns:
            The kernel on the host, in the dtype it was computed in; see :func:`exact_zero`.

        Raises:
            InputError: no encoding of this model's.
        """
        return self.of(self.variables(init_seed), arch)

    def of(self, variables: Any, arch: Shaped[np.ndarray, "*genes"]) -> Float[np.ndarray, "n n"]:
        """Returns the kernel of one architecture at any weights, such as trained ones.

        Args:
            variables: the Flax collections ``params`` and ``batch_stats`` of one network.
            arch: its encoding.

        Returns:
            The kernel on the host, in the dtype it was computed in; see :func:`exact_zero`.

        Raises:
            InputError: no encoding of this model's.
        """
        chosen = check_arch(self.model, arch)
        gram = self.executable(variables, self.x, jnp.asarray(chosen))
        return exact_zero(self.model, self.settings.parameters, chosen, np.asarray(gram))


def compile_kernel(
    model: Model, settings: KernelSettings, x: Float[np.ndarray, "*parts n h w c"]
) -> CompiledKernel:
    """Compiles the kernel of a network for one batch of images.

    Args:
        model: the network.
        settings: the kernel wanted.
        x: the images, standardised.

    Returns:
        A function of the architecture.

    Raises:
        InputError: float64 without ``jax_enable_x64``, or images that are no (n, h, w, c) array.
    """
    return compile_program(kernel_program(model, settings, x.shape), x)


def compile_program(
    program: KernelProgram, x: Float[np.ndarray | Array, "*parts n h w c"]
) -> CompiledKernel:
    """Compiles a prepared kernel.

    Args:
        program: the kernel.
        x: the images, standardised, of the shape that it was prepared for.

    Returns:
        A function of the architecture.
    """
    images = jnp.asarray(x, ACTIVATIONS[program.settings.dtype])
    start = time.perf_counter()
    executable = program.fn.lower(*program.shapes).compile()
    seconds = time.perf_counter() - start
    return CompiledKernel(
        program.model,
        program.settings,
        images,
        executable,
        seconds,
        executable_bytes(executable),
        len(program.traces),
    )


def exact_zero(
    model: Model,
    parameters: ParameterChoice,
    arch: Shaped[np.ndarray, "*genes"],
    gram_NxN: Float[np.ndarray, "n n"],
) -> Float[np.ndarray, "n n"]:
    """Returns the kernel of an architecture, with what is exactly zero set to zero.

    Where the output of an architecture is constant (a cell without a path from input to output),
    the weights that enter LGA have no gradient. In floating point batch normalisation turns the
    rounding of a constant channel into a kernel of about 1e-20, which no threshold tells from a
    small one.

    Args:
        model: the network.
        parameters: those that enter.
        arch: the encoding.
        gram_NxN: its kernel as computed.

    Returns:
        The kernel, or zeros.
    """
    if parameters == "lga" and model.constant(arch):
        return np.zeros_like(gram_NxN)
    return gram_NxN
