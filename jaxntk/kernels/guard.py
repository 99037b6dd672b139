r"""A check of fast kernels that does not trust how they were made.

Three of the examples that a user gives are enough to find a function whose examples interact, and a
parameter whose gradients were read off in the wrong place. For one random combination r of the
outputs, the kernel of the three by Gram rules is held, parameter by parameter, against

.. math:: K_{ij} = \langle J_i, J_j \rangle,
    \qquad J_i = \partial\, r \cdot f(\theta; x_1, x_2, x_3)_i / \partial \theta

from the function of the *batch*, as it was given; and the outputs of examples together against
those of each alone. Both are done twice: with the parameters and inputs as they are, and moved a
little, since gates that are zero or inputs that are all alike hide what others show. It costs three
compilations without optimisations, once for a function and shape.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError
from jaxntk.kernels.function import Function
from jaxntk.kernels.guard_kernels import GuardKernels, Values, compile_quickly
from jaxntk.kernels.outputs import flat_outputs
from jaxntk.kernels.traced.chance import throws_dice
from jaxntk.kernels.traced.kinds import Kind
from jaxntk.kernels.traced.program import Program
from jaxntk.kernels.traced.survey import run_program

EXAMPLES = 3
"""Whose kernels are compared."""

TOGETHER = 64
"""Examples whose outputs are compared, together and alone."""

MOVED = 0.1
"""By what part of their size parameters and inputs are moved for a second look."""

FAINT = 1e-4
"""Part of the largest kernel of a parameter below which another one is rounding."""


class MethodFallback(UserWarning):
    """``method="auto"`` took a slower exact method, since the fast one failed its check."""


class ZeroKernel(UserWarning):
    """Every entry of a kernel is exactly zero."""


class NonFiniteKernel(UserWarning):
    """Some entries of a kernel are infinite or no numbers."""


class Verdict(NamedTuple):
    """What a check found.

    Args:
        error: largest difference of the fast kernel, as a part of the largest entry.
        tolerance: what rounding may explain.
        compared: whether there was anything to compare: examples with finite outputs.
    """

    error: float
    tolerance: float
    compared: bool = True

    @property
    def right(self) -> bool:
        """Whether the fast kernel is the slow one."""
        return self.error <= self.tolerance


def check_kernels(
    function: Function, program: Program, x: Any, *, gram: bool, norms: bool = False
) -> Verdict:
    """Holds the fast kernel of a few examples against the Jacobian of their batch.

    Args:
        function: the user's.
        program: that function of one example, traced.
        x: examples.
        gram: whether the kernel is taken by Gram rules.
        norms: whether its diagonal alone is.

    Returns:
        What was found about the Gram rules.

    Raises:
        InputError: examples that interact, or outputs that depend on how many there are.
    """
    tolerance = _tolerance(program)
    values = _given_and_moved(function, x)
    finite = _check_outputs(function, program, values, tolerance)
    worst = Verdict(0.0, tolerance, compared=False)
    compiled = GuardKernels(function, program, norms=norms)
    for at, (given, rows) in enumerate(zip(values, finite, strict=True)):
        if len(rows):
            few = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf)[rows[:EXAMPLES]], given.x)
            found = _compare(compiled, given._replace(x=few), tolerance, gram)
            # What was given decides whether anything was compared at all.
            compared = worst.compared or at == 0
            worst = Verdict(max(found.error, worst.error), tolerance, compared)
    return worst


def _given_and_moved(function: Function, x: Any) -> list[Values]:
    """Returns all values as they are, and a little way from there."""
    rng = np.random.default_rng(0)

    def moved(leaf: Any) -> Any:
        dtype, shape = jnp.result_type(leaf), jnp.shape(leaf)
        if not jnp.issubdtype(dtype, jnp.floating):
            return leaf
        size = np.abs(np.asarray(leaf, np.float64)).mean() if np.size(leaf) else 0.0
        step = MOVED * (size if np.isfinite(size) and size else 1.0)
        return leaf + jnp.asarray(step * rng.normal(size=shape), dtype)

    def moved_input(leaf: Any) -> Any:
        whole = jnp.issubdtype(leaf.dtype, jnp.integer) or leaf.dtype == jnp.bool_
        if whole and np.all(np.asarray(leaf) == np.asarray(leaf)[:1]):
            # Neighbours, which are numbers of words too where these are.
            return leaf ^ jnp.asarray(rng.integers(0, 2, leaf.shape), leaf.dtype)
        return moved(leaf)

    some = jax.tree.map(lambda leaf: jnp.asarray(leaf[:TOGETHER]), x)
    given = Values(function.entering, function.others, function.state, some)
    entering, others, state = (jax.tree.map(moved, each) for each in given[:3])
    return [given, Values(entering, others, state, jax.tree.map(moved_input, some))]


def _compare(compiled: GuardKernels, given: Values, tolerance: float, gram: bool) -> Verdict:
    """Compares the kernels of a few examples."""
    wanted = compiled.batch(given)
    # In a batch, zero times the infinite derivative of one example is no number in every row.
    known = bool(np.all(np.isfinite(wanted)))
    apart = 0.0
    if gram and known:
        apart = _apart_by_parameter(wanted, compiled.gram(given))
        if apart <= tolerance:
            return Verdict(apart, tolerance)
    alone = compiled.alone(given)
    if not known:
        fast = compiled.gram(given).sum(axis=0) if gram else alone
        return Verdict(_apart(alone, fast), tolerance)
    by = _apart(wanted.sum(axis=0), alone)
    if by > tolerance:
        got = f"gradients that depend on the other examples (by {by:.1e} of the largest entry)"
        raise InputError("apply_fn", got, COUPLED)
    return Verdict(apart, tolerance)


COUPLED = (
    "switch off dropout and the like; use stored statistics of batches, given as state=, or a "
    "normalisation within examples; or take the dear exact kernel with examples='coupled'"
)


def refuse_dice(program: Program) -> None:
    """Raises where a random choice decides what becomes of data or weights.

    Args:
        program: of one example.

    Raises:
        InputError: there is one.
    """
    fixed = [Kind.CONSTANT] * program.others
    data = [Kind.DATA] * (len(program.jaxpr.invars) - program.entering - program.others)
    if throws_dice(program.jaxpr, [Kind.WEIGHT] * program.entering + fixed + data):
        cure = (
            "switch it off (deterministic=True, eval()): a kernel belongs to one network; if the "
            "draw is part of yours, make it outside and give it as state="
        )
        raise InputError("apply_fn", "a random choice that meets data or weights, as dropout", cure)


def warn_of_verdict(verdict: Verdict, method: str) -> str:
    """Says what was found; returns the method to take.

    Args:
        verdict: of the check.
        method: that was asked for.

    Returns:
        ``gram``, or the method asked for, or per-example gradients where the rules are wrong.

    Raises:
        InputError: the Gram rules are wrong, and were asked for.
    """
    if verdict.right:
        return "gram" if method == "auto" else method
    found = f"off by {verdict.error:.1e} of the largest entry on {EXAMPLES} examples"
    if method != "auto":
        cure = "choose auto, which then takes per-example gradients, and report the function"
        raise InputError("method", f"gram, which is {found}", cure)
    warnings.warn(
        f"method='auto': Gram rules are {found}; taken from per-example gradients, exact and "
        "slower. Please report the function",
        MethodFallback,
        stacklevel=4,
    )
    return "per_example_gradients"


def warn_of_failure(error: Exception, method: str) -> str:
    """Says that the Gram rules fail on a function; returns the method to take.

    Args:
        error: what they raised.
        method: that was asked for.

    Returns:
        ``per_example_gradients``.

    Raises:
        InputError: the Gram rules were asked for.
    """
    why = "".join(str(error).strip().splitlines()[:1])[:120]
    found = f"do not know this function ({type(error).__name__}: {why})"
    if method != "auto":
        cure = "choose auto, which then takes per-example gradients, and report the function"
        raise InputError("method", f"gram, whose rules {found}", cure) from error
    warnings.warn(
        f"method='auto': Gram rules {found}; taken from per-example gradients, exact and slower. "
        "Please report the function",
        MethodFallback,
        stacklevel=4,
    )
    return "per_example_gradients"


def warn_of_values(kernel: Array) -> None:
    """Warns where every entry of a kernel is exactly zero, or some are no numbers."""
    if isinstance(kernel, Tracer):
        return
    # Reading both off at once waits for the device once.
    some, finite = np.asarray(jnp.stack([jnp.any(kernel != 0), jnp.all(jnp.isfinite(kernel))]))
    if not some:
        message = "every entry of the kernel is zero: no parameter that enters changes the outputs"
        warnings.warn(message, ZeroKernel, stacklevel=4)
    if not finite:
        message = (
            "the kernel has entries that are not finite: outputs that are not, or derivatives, "
            "as of a square root at zero"
        )
        warnings.warn(message, NonFiniteKernel, stacklevel=4)


def _tolerance(program: Program) -> float:
    """Returns the largest difference that rounding may explain, by the shortest dtype inside."""
    bits = min(_float_bits(program.jaxpr), default=64)
    return {64: 1e-6, 32: 3e-2, 16: 0.1}.get(bits, 0.3)


def _float_bits(jaxpr: Any) -> set[int]:
    avals = [var.aval for eqn in jaxpr.eqns for var in eqn.outvars]
    avals += [var.aval for var in (*jaxpr.invars, *jaxpr.constvars)]
    found = {jnp.finfo(a.dtype).bits for a in avals if jnp.issubdtype(a.dtype, jnp.floating)}
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=_holds_program):
            if _holds_program(inner):
                found |= _float_bits(getattr(inner, "jaxpr", inner))
    return found


def _holds_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


def _check_outputs(
    function: Function, program: Program, values: list[Values], tolerance: float
) -> list[Int[np.ndarray, " k"]]:
    """Refuses outputs that depend on the batch; returns the examples whose outputs are finite."""

    def both(given: Values) -> Float[Array, "2 n c"]:
        entering, others, state, x = given
        together = flat_outputs(lambda p, x: function.call(p, others, state, x))(entering, x)
        rest = jax.tree.leaves((others, state))

        def one(example: Any) -> Array:
            return run_program(program, [*entering, *rest, *jax.tree.leaves(example)])

        return jnp.stack([together, jax.vmap(one)(x)])

    run, finite = compile_quickly(both, values[0]), []
    for at, given in enumerate(values):
        together, alone = run(given)
        apart = _apart(together, alone)
        # Far from what it was made for, a function may do anything.
        if apart > tolerance and (at == 0 or np.all(np.isfinite([together, alone]))):
            far = " where parameters and inputs are moved a little" if at else ""
            by = f"by {apart:.1e} of the largest"
            got = f"outputs that are other ones in a batch than alone ({by}){far}"
            raise InputError("apply_fn", got, COUPLED)
        finite.append(np.flatnonzero(np.isfinite(alone).all(axis=1)))
    return finite


def _apart(wanted: np.ndarray, got: np.ndarray) -> float:
    """Returns the largest difference as a part of the largest entry; inf where one is no number."""
    if not np.array_equal(np.isfinite(wanted), np.isfinite(got)):
        return float("inf")
    finite = np.isfinite(wanted)
    scale = np.abs(wanted[finite]).max(initial=0.0)
    difference = np.abs(wanted[finite] - got[finite]).max(initial=0.0)
    return float(difference / scale) if scale else float(difference)


def _apart_by_parameter(
    wanted: Float[np.ndarray, "k *shape"], got: Float[np.ndarray, "k *shape"]
) -> float:
    """Returns the largest difference of a parameter's kernel, as a part of its largest entry."""
    if not np.all(np.isfinite(got)):
        return float("inf")
    axes = tuple(range(1, wanted.ndim))
    scale = np.abs(wanted).max(axis=axes)
    # The kernel of a parameter that hardly matters is rounding.
    scale = np.maximum(scale, FAINT * scale.max(initial=0.0))
    difference = np.abs(wanted - got).max(axis=axes)
    return float(np.max(difference / np.where(scale > 0, scale, 1.0), initial=0.0))
