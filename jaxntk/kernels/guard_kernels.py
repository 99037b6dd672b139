"""The kernels that a check compares: by Gram rules, from the batch, from examples alone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxntk.errors import FAILURES, InputError
from jaxntk.kernels.arguments import examples_of
from jaxntk.kernels.function import Function
from jaxntk.kernels.outputs import Combinations, flat_outputs
from jaxntk.kernels.per_example import per_example_kernel
from jaxntk.kernels.traced.kernels import Kernels
from jaxntk.kernels.traced.program import Program
from jaxntk.kernels.traced.survey import run_program, survey

FAST: dict[str, Any] = {"xla_backend_optimization_level": 0}
"""What the compiler is told about programs that run once."""


class Values(NamedTuple):
    """What a user's function is called with; see :class:`~jaxntk.kernels.function.Function`."""

    entering: list[Any]
    others: list[Any]
    state: Any
    x: Any


def compile_quickly(function: Callable[[Values], Array], given: Values) -> Callable[..., Any]:
    """Compiles, quickly, a function that runs a few times."""
    try:
        options = FAST if jax.default_backend() == "cpu" else {}
        compiled = jax.jit(function).lower(given).compile(compiler_options=options)
    except InputError:
        raise
    except FAILURES as error:
        n = examples_of(given.x)
        why = "".join(str(error).strip().splitlines()[:1])[:120]
        got = f"a function that fails on {n} of the examples ({type(error).__name__}: {why})"
        cure = "let it take any number of examples, or switch off what finds this by check=False"
        raise InputError("apply_fn", got, cure) from error
    return lambda given: np.asarray(compiled(given), np.float64)


class GuardKernels:
    """The kernels of a few examples, one for each parameter, by three ways, compiled when needed.

    Args:
        function: the user's.
        program: of one example.
        norms: whether the diagonal alone is taken by Gram rules.
    """

    def __init__(self, function: Function, program: Program, *, norms: bool) -> None:
        self.function, self.program, self.norms = function, program, norms
        self.made: dict[Any, Callable[..., np.ndarray]] = {}
        self.weights = jnp.asarray(
            np.random.default_rng(0).choice([-1.0, 1.0], program.count), program.out_dtype
        )

    def batch(self, given: Values) -> np.ndarray:
        """Returns the kernels by their definition, from the function of the batch."""
        found = self._call(self._of_batch, given)
        return np.diagonal(found, axis1=1, axis2=2) if self.norms else found

    def gram(self, given: Values) -> np.ndarray:
        """Returns the kernels by Gram rules; no numbers where these fail."""
        try:
            return self._call(self._by_rules, given)
        except FAILURES:
            # The function itself has been traced before, so it is the rules that fail.
            n = examples_of(given.x)
            shape = (n,) if self.norms else (n, n)
            return np.full((len(given.entering), *shape), np.nan)

    def alone(self, given: Values) -> np.ndarray:
        """Returns the kernel of all parameters, from the gradients of single examples."""
        found = self._call(self._of_examples, given)
        return np.diagonal(found) if self.norms else found

    def _call(self, kernel: Callable[[Values], Array], given: Values) -> np.ndarray:
        key = kernel.__name__, examples_of(given.x)
        if key not in self.made:
            self.made[key] = compile_quickly(kernel, given)
        return self.made[key](given)

    def _of_batch(self, given: Values) -> Array:
        def outs(entering: Any) -> Array:
            call, (_, others, state, x) = self.function.call, given
            flat = flat_outputs(lambda p, x: call(p, others, state, x))(entering, x)
            return jnp.sum(flat * self.weights.astype(flat.dtype).reshape(1, -1), axis=1)

        _, pull_back = jax.vjp(outs, list(given.entering))
        one_hot = jnp.eye(examples_of(given.x), dtype=self.weights.dtype)
        (rows,) = jax.vmap(pull_back)(one_hot)
        flat = [row.reshape(len(row), -1).astype(self.function.dtype) for row in rows]
        return jnp.stack([jnp.matmul(row, row.T, precision="highest") for row in flat])

    def _by_rules(self, given: Values) -> Array:
        count, dtype, n = len(given.entering), self.function.dtype, examples_of(given.x)
        outputs = Combinations(1, lambda _: self.weights)
        kernels = Kernels(self.program, survey(self.program), outputs, "auto", dtype)
        arrays = [*given.entering, *jax.tree.leaves((given.others, given.state))]
        take = kernels.square_norms_by_parameter if self.norms else kernels.block
        found = take(arrays, jax.tree.leaves(given.x))
        empty = jnp.zeros((n,) if self.norms else (n, n), dtype)
        return jnp.stack([
            found[key].reshape(-1, *empty.shape).sum(axis=0) if key in found else empty
            for key in range(count)
        ])

    def _of_examples(self, given: Values) -> Array:
        rest = jax.tree.leaves((given.others, given.state))

        def one(entering: Any, example: Any) -> Array:
            return run_program(self.program, [*entering, *rest, *example])

        basis = Combinations(1, lambda _: self.weights)
        x, dtype = jax.tree.leaves(given.x), self.function.dtype
        return per_example_kernel(one, given.entering, x, None, basis, full=False, dtype=dtype)
