r"""The empirical neural tangent kernel of any function, by whichever method suits it.

.. math:: \Theta(x, x') = J(x) J(x')^T,  \qquad  J(x) = \partial f(\theta, x) / \partial \theta

=========================  ==============================  ============================  ===========
method                     for                             time (P parameters)           holds
=========================  ==============================  ============================  ===========
``gram``                   any function                    a backward pass an output     activations
``per_example_gradients``  any function                    + n1 n2 P an output           2 n P
``jacobian_contraction``   any function, neural-tangents   + n1 n2 P an output           2 n P C
``ntk_vector_products``    any function, neural-tangents   n1 n2 passes an output        activations
``structured_derivatives`` any function, neural-tangents   as its cost model finds       see there
``auto``                   ``gram``; per-example gradients where ``gram`` fails its check
=========================  ==============================  ============================  ===========

All are exact and tested against an explicit float64 Jacobian. ``gram`` follows the parameters
through the traced function (:mod:`jaxntk.kernels.traced`).
"""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxntk.errors import FAILURES, InputError
from jaxntk.kernels.arguments import Examples, Method, NtkSettings, check_arguments, examples_of
from jaxntk.kernels.compiled import compiled_once
from jaxntk.kernels.coupled import coupled_kernels
from jaxntk.kernels.fingerprint import array_key, fingerprint
from jaxntk.kernels.function import Function, example_program, function_of
from jaxntk.kernels.guard import (
    Verdict,
    check_kernels,
    refuse_dice,
    warn_of_failure,
    warn_of_values,
    warn_of_verdict,
)
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.neural_tangents import (
    NEURAL_TANGENTS_METHODS,
    NeuralTangentsMethod,
    neural_tangents_kernel,
)
from jaxntk.kernels.outputs import Outputs, combinations
from jaxntk.kernels.parameters import ParameterChoice, Places, named_paths
from jaxntk.kernels.per_example import per_example_kernel
from jaxntk.kernels.plan import NtkPlan, gram_plan
from jaxntk.kernels.traced.contraction import Route
from jaxntk.kernels.traced.kernels import Kernels
from jaxntk.kernels.traced.program import Program
from jaxntk.kernels.traced.survey import run_program, survey
from jaxntk.networks.precision import at_precision


def empirical_ntk(
    apply_fn: Callable[..., Any],
    params: Any,
    x1: Any,
    x2: Any = None,
    *,
    outputs: Outputs | str,
    state: Any = None,
    pick: Callable[[Any], Any] | None = None,
    parameters: ParameterChoice = "all",
    examples: Examples | str = "independent",
    method: Method | str = "auto",
    route: Route | str = "auto",
    tile: int | None = None,
    matmul_precision: str = "highest",
    check: bool = True,
) -> Float[Array, "n1 n2 *outputs"]:
    r"""Returns the empirical neural tangent kernel of a function.

    .. math:: \Theta_{ij} = \sum_\theta \langle \partial f(x_i) / \partial \theta,
        \partial f(x_j) / \partial \theta \rangle

    combined over outputs as :mod:`jaxntk.kernels.outputs` says. The function is traced at every
    call, so that what it closes over may change, and compiled again only where its program is
    another one; inside a loop of many small kernels put ``jax.jit`` around the call, which traces
    once.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, any JAX function; ``(params, x, state)``
            where a state is given. What it gives for an example must not depend on the others,
            unless ``examples`` says so.
        params: the parameters, any tree of arrays. Whole numbers, truth values and random keys
            among its leaves are held constant.
        x1: the inputs that give the rows: an array or a tree of arrays, examples on the first axis.
        x2: those that give the columns; None for ``x1``, a symmetric kernel.
        outputs: ``trace``, ``mean``, ``sum``, ``class_balanced`` or ``full``; there is no default.
        state: what is not differentiated, such as running statistics; any tree of arrays.
        pick: takes the outputs from what ``apply_fn`` returns, as ``lambda out: out["logits"]``.
        parameters: ``all``, ``lga``, or which parameters enter, as a rule on their path.
        examples: ``coupled`` where the outputs of an example depend on the others, as with batch
            statistics: differentiates the whole batch once an example, n times as dear.
        method: see the module.
        route: how ``gram`` contracts gradients: ``auto``, ``factorised`` or ``materialised``; see
            :mod:`jaxntk.kernels.traced.contraction`.
        tile: rows computed at a time, to bound memory (``gram``, ``per_example_gradients``).
        matmul_precision: of products and convolutions, forward and backward: ``highest``, or a
            lower one that JAX knows, as ``default`` or ``bfloat16``.
        check: hold, the first time that a function is met with inputs of some shape, the kernel of
            three examples against their whole Jacobian, and examples alone against together. What
            is found is raised, or told as a warning. Inside ``jit`` there are no numbers to check.

    Returns:
        ``(n1, n2)``; ``(n1, n2, C, C)`` for ``full``. In float64 where a parameter that enters is,
        else in float32.

    Raises:
        InputError: an argument that is not among the choices; examples that interact, or outputs
            that are drawn at random; parameters, inputs or outputs of the wrong kind.

    Source:
        Jacot, Gabriel, Hongler, "Neural tangent kernel", NeurIPS 2018, arXiv 1806.07572.

    Example:
        >>> def linear(weights, x):
        ...     return x @ weights
        >>> x = jnp.array([[1.0, 0.0], [1.0, 1.0]])
        >>> empirical_ntk(linear, jnp.ones((2, 3)), x, outputs="trace").tolist()
        [[3.0, 3.0], [3.0, 6.0]]
    """
    settings = NtkSettings(outputs, method, parameters, examples, tile, route)
    check_arguments(settings, x1, x2)
    with at_precision(matmul_precision):
        function = function_of(apply_fn, params, state, parameters, pick)
        count = function.count(x1)
        combinations(settings.outputs, count, function.dtype)
        if settings.by_batch:
            return _of_batches(function, settings, x1, x2, count, check, matmul_precision)
        return _of_examples(function, settings, x1, x2, count, check, matmul_precision)


def plan_ntk(
    apply_fn: Callable[..., Any],
    params: Any,
    x1: Any,
    settings: NtkSettings | str,
    *,
    state: Any = None,
    pick: Callable[[Any], Any] | None = None,
) -> NtkPlan:
    """Tells, from shapes alone, how the kernel of each parameter will be computed.

    Args:
        apply_fn: as in :func:`empirical_ntk`.
        params: the parameters or their shapes.
        x1: a batch of inputs or its shape.
        settings: the kernel wanted, or its outputs alone.
        state: as in :func:`empirical_ntk`.
        pick: as in :func:`empirical_ntk`.

    Returns:
        The plan; ``print`` shows it.

    Raises:
        InputError: as :func:`empirical_ntk`.
    """
    settings = NtkSettings(settings) if isinstance(settings, str) else settings
    check_arguments(settings, x1, None)
    function = function_of(apply_fn, params, state, settings.parameters, pick)
    count = function.count(x1)
    if settings.by_batch or settings.method == "per_example_gradients":
        method = "coupled" if settings.examples == "coupled" else str(settings.method)
        return NtkPlan(method, {}, count)
    program = example_program(function, x1, count)
    sizes = [int(np.size(leaf)) for leaf in function.entering]
    n = settings.tile or examples_of(x1)
    try:
        found = survey(program)
    except FAILURES as error:
        got = f"a function that the Gram rules do not know ({type(error).__name__}: {error})"
        cure = "take method='auto', which then takes per-example gradients, and report it"
        raise InputError("apply_fn", got, cure) from error
    return gram_plan(found, function.paths, sizes, count, (n, n, n), settings.route)


class Checked(NamedTuple):
    """The traced function of one example, checked.

    Args:
        program: of one example.
        key: what compiled programs are looked up by: equal for equal programs and shapes.
        inputs: the constants of the program, the leaves beside the inputs, rows and columns.
        verdict: what the check found; None where there was none.
    """

    program: Program
    key: tuple[Hashable, ...]
    inputs: tuple[Any, ...]
    verdict: Verdict | None


def checked_program(
    function: Function,
    x1: Any,
    x2: Any,
    check: bool,
    precision: str,
    *,
    count: int | None = None,
    gram: bool = True,
    norms: bool = False,
) -> Checked:
    """Traces a function of one example, and checks it the first time that it is met.

    Args:
        function: the function.
        x1: the inputs that give the rows.
        x2: those that give the columns, or None.
        check: whether to check.
        precision: of products.
        count: outputs of one example; None to find out.
        gram: whether the Gram rules are to be checked, too.
        norms: whether they give norms alone.

    Returns:
        The program and what was found.

    Raises:
        InputError: examples that interact, or chance.
    """
    program = example_program(function, x1, count)
    if check:
        refuse_dice(program)
    arrays = [*function.entering, *jax.tree.leaves((function.others, function.state))]
    rows = jax.tree.leaves(x1)
    columns = None if x2 is None else jax.tree.leaves(x2)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in rows)
    parts = (program.entering, program.others)
    key = (fingerprint(program.jaxpr), parts, str(function.dtype), shapes, precision)
    inputs = (list(program.consts), arrays, rows, columns)
    if not check or any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(inputs)):
        return Checked(program, key, inputs, None)
    # One program of an example may belong to several functions of a batch.
    batch = fingerprint(jax.make_jaxpr(function.outputs)(function.entering, x1))
    verdict = compiled_once(
        ("verdict", gram, norms, batch, *key),
        lambda: check_kernels(function, program, x1, gram=gram, norms=norms),
        keep=lambda verdict: verdict.compared,
    )
    return Checked(program, key, inputs, verdict)


def _of_examples(
    function: Function,
    settings: NtkSettings,
    x1: Any,
    x2: Any,
    count: int,
    check: bool,
    precision: str,
) -> Array:
    """Returns the kernel by a method that takes examples by themselves."""
    gram = settings.method in ("auto", "gram")
    checked = checked_program(function, x1, x2, check, precision, count=count, gram=gram)
    method = "gram" if gram else str(settings.method)
    if checked.verdict is not None and gram:
        method = warn_of_verdict(checked.verdict, str(settings.method))

    def run(method: str) -> Array:
        key = ("kernel", method, settings.outputs, settings.tile, settings.route, *checked.key)
        dtype = function.dtype
        make = lambda: _kernel_program(checked.program, dtype, settings, method)  # noqa: E731
        return compiled_once(key, make)(*checked.inputs)

    try:
        kernel = run(method)
    except FAILURES as error:
        # The function has been traced before: it is the rules that do not know it.
        if method != "gram" or isinstance(error, InputError | jax.errors.JaxRuntimeError):
            raise
        kernel = run(warn_of_failure(error, str(settings.method)))
    if check:
        warn_of_values(kernel)
    return kernel


def _kernel_program(
    program: Program, dtype: jnp.dtype, settings: NtkSettings, method: str
) -> Callable[..., Array]:
    """Returns the compiled function ``(consts, arrays, x1, x2) -> kernel``."""
    found = survey(program) if method == "gram" else None
    program = program._replace(consts=())

    @jax.jit
    def kernel(consts: Any, arrays: Any, x1: Any, x2: Any) -> Array:
        closed = program._replace(consts=consts)
        if found is not None:
            kernels = Kernels(closed, found, settings.outputs, settings.route, dtype)
            flat = _gram(kernels, settings.tile, arrays, x1, x2)
        else:
            flat = _per_example(closed, dtype, settings, arrays, x1, x2)
        return _split_outputs(flat, settings, closed.count, x1, x2)

    return kernel


def _gram(kernels: Kernels, tile: int | None, arrays: Any, x1: Any, x2: Any) -> Array:
    n1, n2 = len(x1[0]), len((x1 if x2 is None else x2)[0])
    if tile is not None and tile < max(n1, n2):
        found = kernels.tiled(arrays, x1, x2, tile)
    elif x2 is None:
        found = kernels.block(arrays, x1)
    else:
        both = [jnp.concatenate(pair) for pair in zip(x1, x2, strict=True)]
        found = kernels.block(arrays, both, (n1, n2))
    if found:
        return total(found)
    # No parameter that enters reaches the outputs.
    each = kernels.count if kernels.outputs == "full" else 1
    return jnp.zeros((n1 * each, n2 * each), kernels.dtype)


def _per_example(
    program: Program, dtype: jnp.dtype, settings: NtkSettings, arrays: Any, x1: Any, x2: Any
) -> Array:
    entering, others = arrays[: program.entering], arrays[program.entering :]

    def one(entering: Any, example: Any) -> Array:
        return run_program(program, [*entering, *others, *example])

    basis = combinations(settings.outputs, program.count, dtype)
    full = settings.outputs == "full"
    return per_example_kernel(
        one, entering, x1, x2, basis, full=full, dtype=dtype, tile=settings.tile
    )


def _split_outputs(
    kernel: Array, settings: NtkSettings, count: int, x1: Any, x2: Any
) -> Float[Array, "n1 n2 *outputs"]:
    if settings.outputs != "full":
        return kernel
    n1, n2 = len(x1[0]), len((x1 if x2 is None else x2)[0])
    return kernel.reshape(n1, count, n2, count).transpose(0, 2, 1, 3)


def _of_batches(
    function: Function,
    settings: NtkSettings,
    x1: Any,
    x2: Any,
    count: int,
    check: bool,
    precision: str,
) -> Array:
    """Returns the kernel by a method that takes the function as it is, batch by batch."""
    traced = [
        jax.make_jaxpr(function.call)(function.entering, function.others, function.state, x)
        for x in (x1, x1 if x2 is None else x2)
    ]
    if check:
        others = len(jax.tree.leaves((function.others, function.state)))
        refuse_dice(Program(traced[0].jaxpr, (), len(function.entering), others))
    known = tuple((fingerprint(each), *map(array_key, each.consts)) for each in traced)
    method = "auto" if settings.method == "auto" else str(settings.method)
    tree = jax.tree.structure((function.entering, function.others, function.state, x1))
    wanted = (method, settings.outputs, settings.examples, settings.tile)
    key = ("batches", *wanted, known, tree, precision)
    dtype = function.dtype
    call = function.call

    def compiled() -> Any:
        @jax.jit
        def kernel(entering: Any, others: Any, state: Any, x1: Any, x2: Any) -> Array:
            def outputs(entering: Any, x: Any) -> Any:
                return call(entering, others, state, x)

            places = Places(dict.fromkeys(named_paths(entering), ()))
            outs = cast(Outputs, settings.outputs)
            if settings.method in NEURAL_TANGENTS_METHODS:
                name = cast(NeuralTangentsMethod, settings.method)
                coupled = settings.examples == "coupled"
                return neural_tangents_kernel(
                    outputs, entering, x1, x2, places, outputs=outs, method=name, coupled=coupled
                )
            kernels = coupled_kernels(
                outputs, entering, x1, places, outputs=outs, tile=settings.tile
            )
            rows = jax.tree.leaves(x1)
            return _split_outputs(total(kernels).astype(dtype), settings, count, rows, None)

        return kernel

    run = compiled_once(key, compiled)
    return run(function.entering, function.others, function.state, x1, x2)
