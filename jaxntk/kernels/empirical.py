r"""The empirical neural tangent kernel of any function, by whichever method suits it.

.. math:: \Theta(x, x') = J(x) J(x')^T,  \qquad  J(x) = \partial f(\theta, x) / \partial \theta

=========================  ==============================  ============================  ===========
method                     for                             time (P parameters)           holds
=========================  ==============================  ============================  ===========
``gram``                   layers with Gram rules          a backward pass an output     activations
``per_example_gradients``  any function                    + n1 n2 P an output           2 n P
``jacobian_contraction``   any function, neural-tangents   + n1 n2 P an output           2 n P C
``ntk_vector_products``    any function, neural-tangents   n1 n2 passes an output        activations
``structured_derivatives`` any function, neural-tangents   as its cost model finds       see there
``auto``                   gram where a rule is known, per-example gradients elsewhere
=========================  ==============================  ============================  ===========

All are exact and tested against an explicit float64 Jacobian.
"""

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Float, Shaped

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.coupled import coupled_kernels
from jaxntk.kernels.coverage import NOT_NAMED, NOT_REAL, Coverage, gram_coverage, is_named
from jaxntk.kernels.gram import gram_kernels, kernel_dtype, tiled_gram_kernels
from jaxntk.kernels.layer_kernels import LayerKernels, total
from jaxntk.kernels.neural_tangents import (
    NEURAL_TANGENTS_METHODS,
    NeuralTangentsMethod,
    neural_tangents_kernel,
)
from jaxntk.kernels.outputs import ApplyFn, Outputs, check_outputs, output_count
from jaxntk.kernels.parameters import (
    ParameterChoice,
    Path,
    Places,
    by_path,
    is_real,
    named_paths,
    predicate,
    refuse_complex,
    select,
)
from jaxntk.kernels.per_example import per_example_kernels
from jaxntk.networks.linen_gram import linen_rules
from jaxntk.networks.precision import at_precision

Method = Literal[
    "auto",
    "gram",
    "per_example_gradients",
    "jacobian_contraction",
    "ntk_vector_products",
    "structured_derivatives",
]
Examples = Literal["independent", "coupled"]


class MethodFallback(UserWarning):
    """``method="auto"`` took a slower exact method for some parameters."""


@dataclass(frozen=True)
class NtkSettings:
    """Which kernel is wanted, and how it is to be computed; see :func:`empirical_ntk`.

    Args:
        outputs: which outputs are differentiated.
        method: how.
        parameters: which parameters enter.
        examples: whether the examples of a batch interact.
        tile: rows computed at a time.
    """

    outputs: Outputs | str
    method: Method | str = "auto"
    parameters: ParameterChoice = "all"
    examples: Examples | str = "independent"
    tile: int | None = None


@dataclass(frozen=True)
class NtkPlan:
    """How a kernel will be computed.

    Args:
        method: the method for the parameters in ``places``.
        places: the parameters that ``method`` takes care of.
        others: those that are left to per-example gradients.
        reasons: why, for each of those.
        count: outputs of one example.
    """

    method: str
    places: Places
    others: Places
    reasons: Mapping[Path, str]
    count: int

    def __str__(self) -> str:
        lines = [f"{self.method}: {len(self.places.leading)} parameters"]
        if self.others.leading:
            lines.append(f"per_example_gradients: {len(self.others.leading)} parameters")
        lines += [f"  {'/'.join(path)}: {why}" for path, why in self.reasons.items()]
        return "\n".join(lines)


def empirical_ntk(
    apply_fn: ApplyFn,
    params: Any,
    x1: Shaped[Array, "n1 ..."],
    x2: Shaped[Array, "n2 ..."] | None = None,
    *,
    outputs: Outputs | str,
    method: Method | str = "auto",
    parameters: ParameterChoice = "all",
    examples: Examples | str = "independent",
    tile: int | None = None,
    matmul_precision: str = "highest",
) -> Float[Array, "n1 n2 *outputs"]:
    r"""Returns the empirical neural tangent kernel of a function.

    .. math:: \Theta_{ij} = \sum_\theta \langle \partial f(x_i) / \partial \theta,
        \partial f(x_j) / \partial \theta \rangle

    combined over outputs as :mod:`jaxntk.kernels.outputs` says. Compiled once for each function
    object and shape: pass the same ``apply_fn`` again, not a new lambda. As under ``jax.jit``, what
    an object with ``__call__`` holds is read once: give what changes as parameters.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, any JAX function. What it gives for an
            example must not depend on the others, unless ``examples`` says so;
            :func:`~jaxntk.kernels.check.check_model` finds out.
        params: the parameters, a tree of arrays. For ``gram`` a nested dictionary, as Flax has it.
        x1: the inputs that give the rows.
        x2: those that give the columns; None for ``x1``, a symmetric kernel.
        outputs: ``trace``, ``sum``, ``class_balanced`` or ``full``; there is no default.
        method: see the module.
        parameters: ``all``, or which parameters enter, as a rule on their path.
        examples: ``coupled`` where the outputs of an example depend on the others, as with batch
            statistics: differentiates the whole batch once an example, n times as dear.
        tile: rows computed at a time, to bound memory (``gram``, ``per_example_gradients``).
        matmul_precision: of products and convolutions, forward and backward: ``highest``, or a
            lower one that JAX knows, as ``default`` or ``bfloat16``.

    Returns:
        ``(n1, n2)``; ``(n1, n2, C, C)`` for ``full``.

    Raises:
        InputError: an argument that is not among the choices; a parameter without a Gram rule for
            ``gram``; a layer that couples examples; inputs or outputs of the wrong kind.

    Source:
        Jacot, Gabriel, Hongler, "Neural tangent kernel", NeurIPS 2018, arXiv 1806.07572.

    Example:
        >>> def linear(weights, x):
        ...     return x @ weights
        >>> x = jnp.array([[1.0, 0.0], [1.0, 1.0]])
        >>> empirical_ntk(linear, jnp.ones((2, 3)), x, outputs="trace",
        ...               method="per_example_gradients").tolist()
        [[3.0, 3.0], [3.0, 6.0]]
    """
    settings = NtkSettings(outputs, method, parameters, examples, tile)
    _check_inputs(settings, x1, x2)
    with at_precision(matmul_precision):
        return _kernel(_hashable(apply_fn), settings, params, x1, x2)


def plan_ntk(
    apply_fn: ApplyFn,
    params: Any,
    x1: Array | jax.ShapeDtypeStruct,
    settings: NtkSettings,
) -> NtkPlan:
    """Decides, from shapes alone, which method computes the kernel of which parameter.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``.
        params: the parameters or their shapes.
        x1: a batch of inputs or its shape.
        settings: the kernel wanted.

    Returns:
        The plan; ``print`` shows it.

    Raises:
        InputError: as :func:`empirical_ntk`.
    """
    _check_inputs(settings, x1, None)
    unnamed = not is_named(params)
    apply_fn, params = _named(apply_fn, params)
    refuse_complex(params)
    coupled = settings.examples == "coupled"
    everything = Places({
        path: () for path, leaf in by_path(params).items() if is_real(leaf) and jnp.size(leaf)
    })
    chosen = select(everything, settings.parameters)
    with nullcontext() if coupled else linen_rules():
        count = output_count(apply_fn, params, x1)
    if settings.method not in ("auto", "gram") or (coupled and settings.method == "auto"):
        method = "per_example_gradients" if settings.method == "auto" else settings.method
        return NtkPlan(method, chosen, Places({}), {}, count)
    if coupled:
        cure = "choose auto or another method: Gram rules need examples that do not interact"
        raise InputError("method", "gram with examples='coupled'", cure)
    covered = gram_coverage(apply_fn, params, x1)
    if unnamed:
        covered = replace(covered, uncovered=dict.fromkeys(covered.uncovered, NOT_NAMED))
    plan = _gram_plan(covered, predicate(settings.parameters), count)
    if plan.reasons and settings.method == "gram":
        path, why = next(iter(plan.reasons.items()))
        got = f"gram, but {'/'.join(path)}: {why}"
        raise InputError("method", got, "choose auto, which takes another method where it must")
    return plan


def _gram_plan(covered: Coverage, enters: Any, count: int) -> NtkPlan:
    reasons = {
        path: why for path, why in covered.uncovered.items() if enters(path) and why != NOT_REAL
    }
    ruled = {path: lead for path, lead in covered.places.leading.items() if enters(path)}
    others = Places(dict.fromkeys(reasons, ()))
    if not ruled and others.leading:
        return NtkPlan("per_example_gradients", others, Places({}), reasons, count)
    return NtkPlan("gram", Places(ruled), others, reasons, count)


@partial(jax.jit, static_argnames=("apply_fn", "settings"))
def _kernel(
    apply_fn: ApplyFn, settings: NtkSettings, params: Any, x1: Array, x2: Array | None
) -> Array:
    plan = plan_ntk(apply_fn, params, x1, settings)
    if plan.reasons:
        _say_fallback(plan)
    apply_fn, params = _named(apply_fn, params)
    outputs, tile = check_outputs(settings.outputs), settings.tile
    coupled = settings.examples == "coupled"
    if plan.method in NEURAL_TANGENTS_METHODS:
        method = cast(NeuralTangentsMethod, plan.method)
        return neural_tangents_kernel(
            apply_fn, params, x1, x2, plan.places, outputs=outputs, method=method, coupled=coupled
        )
    layers: list[LayerKernels] = []
    if coupled:
        layers.append(
            coupled_kernels(apply_fn, params, x1, plan.places, outputs=outputs, tile=tile)
        )
    elif plan.method == "per_example_gradients":
        layers.append(
            per_example_kernels(apply_fn, params, x1, x2, plan.places, outputs=outputs, tile=tile)
        )
    else:
        layers.append(_gram(apply_fn, params, x1, x2, plan.places, outputs, tile))
        if plan.others.leading:
            others = per_example_kernels(
                apply_fn, params, x1, x2, plan.others, outputs=outputs, tile=tile
            )
            layers.append(others)
    columns = len(x1 if x2 is None else x2)
    each = plan.count if outputs == "full" else 1
    # Zeros alone where no parameter that enters reaches the outputs.
    kernel = jnp.zeros((len(x1) * each, columns * each), kernel_dtype(params))
    for kernels in filter(None, layers):
        kernel += total(kernels)
    if outputs != "full":
        return kernel
    split = kernel.reshape(len(x1), plan.count, columns, plan.count)
    return split.transpose(0, 2, 1, 3)


def _gram(
    apply_fn: ApplyFn,
    params: Any,
    x1: Array,
    x2: Array | None,
    places: Places,
    outputs: Outputs,
    tile: int | None,
) -> LayerKernels:
    if tile is not None and tile < max(len(x1), 0 if x2 is None else len(x2)):
        return tiled_gram_kernels(apply_fn, params, x1, x2, places, outputs=outputs, tile=tile)
    if x2 is None:
        return gram_kernels(apply_fn, params, x1, places, outputs=outputs)
    both, block = jnp.concatenate([x1, x2]), (len(x1), len(x2))
    return gram_kernels(apply_fn, params, both, places, outputs=outputs, block=block)


def _named(apply_fn: ApplyFn, params: Any) -> tuple[ApplyFn, Any]:
    """Returns function and parameters with the parameters in a dictionary by their path."""
    if is_named(params):
        return apply_fn, params
    leaves, tree = jax.tree.flatten(params)
    paths = named_paths(params)

    def by_name(named: Mapping[str, Any], x: Array) -> Array:
        flat = by_path(named)
        return apply_fn(jax.tree.unflatten(tree, [flat[path] for path in paths]), x)

    return by_name, traverse_util.unflatten_dict(dict(zip(paths, leaves, strict=True)))


def _say_fallback(plan: NtkPlan) -> None:
    which = ", ".join(f"{'/'.join(path)} ({why})" for path, why in plan.reasons.items())
    warnings.warn(
        f"method='auto': {which}: taken from per-example gradients, exact and slower",
        MethodFallback,
        stacklevel=2,
    )


def _check_inputs(settings: NtkSettings, x1: Any, x2: Any) -> None:
    check_outputs(settings.outputs)
    for argument, choices in (("method", Method), ("examples", Examples)):
        check_choice(argument, getattr(settings, argument), get_args(choices))
    if settings.tile is not None and settings.tile < 1:
        raise InputError("tile", settings.tile, "give at least 1, or None for all at once")
    for argument, x in (("x1", x1), ("x2", x2)):
        if x is not None and not hasattr(x, "ndim"):
            got = f"an object of type {type(x).__name__}"
            raise InputError(argument, got, "give one array, an example a row")
    if x1.ndim < 1 or not x1.shape[0]:
        raise InputError("x1", f"shape {x1.shape}", "give at least one example, (n, ...)")
    if x2 is not None and (x2.shape[1:] != x1.shape[1:] or not len(x2)):
        got = f"shape {x2.shape} beside {x1.shape}"
        raise InputError("x2", got, "give examples of the same shape as in x1")
    nt = settings.method in NEURAL_TANGENTS_METHODS
    if settings.examples == "coupled" and x2 is not None and not nt:
        cure = "give None: coupled examples have the kernel of one batch with itself"
        raise InputError("x2", f"shape {x2.shape} with examples='coupled'", cure)
    if settings.tile is not None and nt:
        cure = "give None: neural-tangents takes all rows at once"
        raise InputError("tile", f"{settings.tile} with method={settings.method!r}", cure)


def _hashable(apply_fn: ApplyFn) -> ApplyFn:
    try:
        hash(apply_fn)
    except TypeError:
        # A bound method of something mutable, say: compiled anew at every call.
        return lambda params, x: apply_fn(params, x)
    return apply_fn
