r"""A check of fast kernels that does not trust how they were made.

Three of the examples that a user gives are enough to find a function whose examples interact, and a
parameter whose gradients were read off in the wrong place. For one random combination r of the
outputs, the kernel of the three by Gram rules is held against

.. math:: K_{ij} = \langle J_i, J_j \rangle,
    \qquad J_i = \partial\, r \cdot f(\theta; x_1, x_2, x_3)_i / \partial \theta

from the function of the *batch*, as it was given; and the outputs of examples together against
those of each alone. The two costs a compilation and three backward passes, once for a function and
shape.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError
from jaxntk.kernels.arguments import examples_of
from jaxntk.kernels.function import Function
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.outputs import Combinations, flat_outputs
from jaxntk.kernels.per_example import per_example_kernel
from jaxntk.kernels.traced.chance import throws_dice
from jaxntk.kernels.traced.kernels import Kernels
from jaxntk.kernels.traced.kinds import Kind
from jaxntk.kernels.traced.program import Program
from jaxntk.kernels.traced.survey import run_program, survey

EXAMPLES = 3
"""Whose kernels are compared."""

TOGETHER = 64
"""Examples whose outputs are compared, together and alone."""

FAST = {"xla_backend_optimization_level": 0}
"""What the compiler is told about programs that run once."""


class MethodFallback(UserWarning):
    """``method="auto"`` took a slower exact method, since the fast one failed its check."""


class ZeroKernel(UserWarning):
    """Every entry of a kernel is exactly zero."""


class Verdict(NamedTuple):
    """What a check found.

    Args:
        error: largest difference of the fast kernel, as a part of the largest entry.
        tolerance: what rounding may explain.
    """

    error: float
    tolerance: float

    @property
    def right(self) -> bool:
        """Whether the fast kernel is the slow one."""
        return self.error <= self.tolerance


def check_kernels(function: Function, program: Program, x: Any, *, gram: bool) -> Verdict:
    """Holds the fast kernel of a few examples against the Jacobian of their batch.

    Args:
        function: the user's.
        program: that function of one example, traced.
        x: examples.
        gram: whether the kernel is taken by Gram rules.

    Returns:
        What was found about the Gram rules.

    Raises:
        InputError: examples that interact, or outputs that depend on how many there are.
    """
    _refuse_dice(program)
    tolerance = _tolerance(program)
    finite = _check_outputs(function, program, x, tolerance)[:EXAMPLES]
    if not len(finite):
        return Verdict(0.0, tolerance)
    few = jax.tree.map(lambda leaf: jnp.asarray(leaf)[finite], x)
    weights = jnp.asarray(
        np.random.default_rng(0).choice([-1.0, 1.0], program.count), program.out_dtype
    )
    wanted = _batch_kernel(function, few, weights)
    # In a batch, zero times the infinite derivative of one example is no number in every row.
    known = bool(np.all(np.isfinite(wanted)))
    wanted = wanted if known else _alone_kernel(function, program, few, weights)
    if gram:
        fast = _apart(wanted, _gram_kernel(function, program, few, weights))
        if fast <= tolerance:
            return Verdict(fast, tolerance)
    alone = _apart(wanted, _alone_kernel(function, program, few, weights)) if known else 0.0
    if alone > tolerance:
        got = f"gradients that depend on the other examples (by {alone:.1e} of the largest entry)"
        raise InputError("apply_fn", got, COUPLED)
    return Verdict(fast if gram else 0.0, tolerance)


COUPLED = (
    "switch off dropout and the like; use stored statistics of batches, given as state=, or a "
    "normalisation within examples; or take the dear exact kernel with examples='coupled'"
)


def _refuse_dice(program: Program) -> None:
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


def warn_of_zeros(kernel: Array) -> None:
    """Warns where every entry of a kernel is exactly zero."""
    if not isinstance(kernel, Tracer) and not jnp.any(kernel != 0):
        warnings.warn(
            "every entry of the kernel is zero: no parameter that enters changes the outputs here",
            ZeroKernel,
            stacklevel=4,
        )


def _tolerance(program: Program) -> float:
    """Returns the largest difference that rounding may explain, by the shortest dtype inside."""
    bits = min(_float_bits(program.jaxpr), default=64)
    return {64: 1e-6, 32: 1e-2}.get(bits, 0.2)


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


def _run(function: Any, *arguments: Any) -> np.ndarray:
    """Compiles, quickly, a function that runs once, and runs it."""
    compiled = jax.jit(function).lower(*arguments).compile(compiler_options=_options())
    return np.asarray(compiled(*arguments), np.float64)


def _options() -> dict[str, Any]:
    return FAST if jax.default_backend() == "cpu" else {}


def _check_outputs(
    function: Function, program: Program, x: Any, tolerance: float
) -> Int[np.ndarray, " k"]:
    """Refuses outputs that depend on the batch; returns the examples whose outputs are finite."""
    some = jax.tree.map(lambda leaf: leaf[:TOGETHER], x)

    def both(entering: Any, others: Any, state: Any, x: Any) -> Float[Array, "2 n c"]:
        together = flat_outputs(lambda p, x: function.call(p, others, state, x))(entering, x)
        rest = jax.tree.leaves((others, state))

        def one(example: Any) -> Array:
            return run_program(program, [*entering, *rest, *jax.tree.leaves(example)])

        return jnp.stack([together, jax.vmap(one)(x)])

    together, alone = _run(both, function.entering, function.others, function.state, some)
    apart = _apart(together, alone)
    if apart > tolerance:
        got = f"outputs that are other ones in a batch than alone (by {apart:.1e} of the largest)"
        raise InputError("apply_fn", got, COUPLED)
    return np.flatnonzero(np.isfinite(alone).all(axis=1))


def _apart(wanted: np.ndarray, got: np.ndarray) -> float:
    """Returns the largest difference as a part of the largest entry; inf where one is no number."""
    if not np.array_equal(np.isfinite(wanted), np.isfinite(got)):
        return float("inf")
    finite = np.isfinite(wanted)
    scale = np.abs(wanted[finite]).max(initial=0.0)
    difference = np.abs(wanted[finite] - got[finite]).max(initial=0.0)
    return float(difference / scale) if scale else float(difference)


def _batch_kernel(function: Function, x: Any, weights: Array) -> np.ndarray:
    """Returns the kernel of a batch by its definition, from the function as it was given."""

    def kernel(entering: Any, others: Any, state: Any, x: Any) -> Array:
        def outs(entering: Any) -> Array:
            flat = flat_outputs(lambda p, x: function.call(p, others, state, x))(entering, x)
            return jnp.sum(flat * weights.astype(flat.dtype).reshape(1, -1), axis=1)

        _, pull_back = jax.vjp(outs, list(entering))
        one_hot = jnp.eye(examples_of(x), dtype=weights.dtype)
        (rows,) = jax.vmap(pull_back)(one_hot)
        return _products([row.reshape(len(row), -1).astype(function.dtype) for row in rows])

    return _run(kernel, function.entering, function.others, function.state, x)


def _products(rows: list[Array]) -> Array:
    return sum(
        (jnp.matmul(row, row.T, precision="highest") for row in rows),
        start=jnp.zeros((len(rows[0]), len(rows[0])), rows[0].dtype),
    )


def _gram_kernel(function: Function, program: Program, x: Any, weights: Array) -> np.ndarray:
    kernels = Kernels(
        program, survey(program), Combinations(1, lambda _: weights), "auto", function.dtype
    )

    def kernel(arrays: Any, x: Any) -> Array:
        found = kernels.block(arrays, x)
        n = len(x[0])
        return total(found) if found else jnp.zeros((n, n), function.dtype)

    return _run(kernel, _arrays(function), jax.tree.leaves(x))


def _alone_kernel(function: Function, program: Program, x: Any, weights: Array) -> np.ndarray:
    def kernel(arrays: Any, x: Any) -> Array:
        entering, rest = arrays[: program.entering], arrays[program.entering :]

        def one(entering: Any, example: Any) -> Array:
            return run_program(program, [*entering, *rest, *example])

        basis = Combinations(1, lambda _: weights)
        return per_example_kernel(one, entering, x, None, basis, full=False, dtype=function.dtype)

    return _run(kernel, _arrays(function), jax.tree.leaves(x))


def _arrays(function: Function) -> list[Any]:
    return [*function.entering, *jax.tree.leaves((function.others, function.state))]
