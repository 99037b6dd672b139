"""The kernels of all parameters of a program, from one forward and a few backward passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxntk.kernels.layer_kernels import assemble, tiles_of
from jaxntk.kernels.outputs import Combinations, Outputs, combinations
from jaxntk.kernels.parameters import Places
from jaxntk.kernels.traced.contraction import Route
from jaxntk.kernels.traced.control_flow import CONTROL_FLOW
from jaxntk.kernels.traced.interpreter import Interpreter
from jaxntk.kernels.traced.joined import joined_gram
from jaxntk.kernels.traced.program import Program
from jaxntk.kernels.traced.survey import Survey, interpret
from jaxntk.kernels.traced.taps import Options, Place, Reading
from jaxntk.kernels.traced.weights import Root
from jaxntk.networks.gram_block import gram_block

ParameterKernels = dict[int, Array]
"""For each parameter that reaches the outputs, by number, ``(*leading axes, rows, columns)``."""


@dataclass(frozen=True, eq=False)
class Kernels:
    """The kernels of all parameters of a program, for batches of any size.

    Args:
        program: of one example.
        found: its survey.
        outputs: which outputs, and how combined; or the combinations themselves.
        route: how gradients are contracted.
        dtype: of the kernels.
        narrow: whether all derivatives are taken in that dtype, too, where activations are wider.
    """

    program: Program
    found: Survey
    outputs: Outputs | Combinations | str
    route: Route | str
    dtype: jnp.dtype
    narrow: bool = False

    @property
    def count(self) -> int:
        """Outputs of one example."""
        return self.program.count

    def block(
        self,
        arrays: Sequence[Any],
        x: Sequence[Array],
        shape: tuple[int, int] | None = None,
        *,
        looped: bool = False,
    ) -> ParameterKernels:
        """Returns the kernels of one batch, from one forward and a few backward passes.

        Args:
            arrays: the leaves that enter, then what is held constant.
            x: the leaves of the batch, examples on the first axis.
            shape: None for the kernel of the batch with itself; ``(a, b)`` with ``a + b == n`` for
                the first a examples against the last b.
            looped: whether this is called inside a loop.

        Returns:
            The kernels. For ``full`` every example gives C neighbouring rows or columns.
        """
        n = len(x[0])
        shape = shape or (n, n)
        basis = self._basis()
        if self.outputs == "full":
            many = [jnp.repeat(leaf, self.count, axis=0) for leaf in x]
            cts = jnp.tile(basis.all(), (n, 1))
            shape = (shape[0] * self.count, shape[1] * self.count)
            kernels, _ = self._passes(arrays, many, shape, looped)
            return kernels(cts)
        kernels, zeros = self._passes(arrays, x, shape, looped or basis.count > 1)
        if basis.count == 1:
            return kernels(basis.at(jnp.int32(0))[None, :])

        def add(sums: ParameterKernels, number: Array) -> tuple[ParameterKernels, None]:
            return jax.tree.map(jnp.add, sums, kernels(basis.at(number)[None, :])), None

        return lax.scan(add, zeros, jnp.arange(basis.count, dtype=jnp.int32))[0]

    def tiled(
        self, arrays: Sequence[Any], x1: Sequence[Array], x2: Sequence[Array] | None, tile: int
    ) -> ParameterKernels:
        """Returns the kernels, holding the activations of two tiles at a time.

        Every pair of tiles is a forward and a few backward passes over ``2 * tile`` examples, so
        the time grows by about ``n / tile`` while the memory of activations does not depend on n.

        Args:
            arrays: as in :meth:`block`.
            x1: the leaves of the inputs that give the rows.
            x2: of those that give the columns; None for ``x1``.
            tile: examples in a tile.

        Returns:
            As :meth:`block`.
        """
        left = [tiles_of(leaf, tile) for leaf in x1]
        right = left if x2 is None else [tiles_of(leaf, tile) for leaf in x2]
        each = self.count if self.outputs == "full" else 1
        readings = self._readings(norms=False)

        def block(row: Array, column: Array) -> ParameterKernels:
            both = [jnp.concatenate([a[row], b[column]]) for a, b in zip(left, right, strict=True)]
            return self.block(arrays, both, (tile, tile), looped=True)

        return assemble(
            block,
            (len(x1[0]) * each, None if x2 is None else len(x2[0]) * each),
            tile * each,
            Places({key: self.found.leading(key) for key in readings}),
            self.dtype,
        )

    def _basis(self) -> Combinations:
        if isinstance(self.outputs, Combinations):
            return self.outputs
        return combinations(self.outputs, self.count, self.program.out_dtype)

    def square_norms(self, arrays: Sequence[Any], x: Sequence[Array]) -> Array:
        """Returns the diagonal of the kernel, without the kernel.

        Args:
            arrays: as in :meth:`block`.
            x: the leaves of the batch.

        Returns:
            (n,): for each example the squared norms of its gradients, summed over parameters and
            combinations of outputs.
        """
        found = self.square_norms_by_parameter(arrays, x)
        return sum(found.values(), start=jnp.zeros(len(x[0]), self.dtype))

    def square_norms_by_parameter(
        self, arrays: Sequence[Any], x: Sequence[Array]
    ) -> ParameterKernels:
        """Returns the diagonals of the kernels of each parameter, (n,) each."""
        n, basis = len(x[0]), self._basis()
        kernels, _ = self._passes(arrays, x, None, looped=True)

        def norms(cts: Array) -> ParameterKernels:
            return {key: each.reshape(n, -1).sum(axis=1) for key, each in kernels(cts).items()}

        def add(sums: ParameterKernels, number: Array) -> tuple[ParameterKernels, None]:
            return jax.tree.map(jnp.add, sums, norms(basis.at(number)[None, :])), None

        zeros = {key: jnp.zeros(n, self.dtype) for key in self._readings(norms=True)}
        return lax.scan(add, zeros, jnp.arange(basis.count, dtype=jnp.int32))[0]

    def _readings(self, norms: bool) -> dict[int, Reading]:
        """Returns how each parameter that reaches the outputs is read off."""
        found = {key: self.found.reading(key) for key in range(self.program.entering)}
        instead = {Reading.KERNEL: Reading.NORM, Reading.FACTORS: Reading.GRADIENT} if norms else {}
        return {key: instead.get(kind, kind) for key, kind in found.items() if kind}

    def _passes(
        self,
        arrays: Sequence[Any],
        x: Sequence[Array],
        shape: tuple[int, int] | None,
        looped: bool,
    ) -> tuple[Callable[[Array], ParameterKernels], ParameterKernels]:
        """Runs forward; gives the function from cotangents to kernels, and kernels of zeros."""
        # A shape of None asks for squared norms instead of kernels. Convolutions have to know
        # whether the passes run inside a loop.
        entering = list(arrays[: self.program.entering])
        others = list(arrays[self.program.entering :])
        readings, n = self._readings(shape is None), len(x[0])
        zeros = self._places(readings, entering, n, shape)
        outputs = partial(self._outputs, readings, entering, others, x, looped)
        primal, pull_back = jax.vjp(outputs, zeros)
        wanted = (n, n) if shape is None else shape

        def kernels(cts: Array) -> ParameterKernels:
            (found,) = pull_back(jnp.broadcast_to(cts, primal.shape).astype(primal.dtype))
            read = dict(found.shared)
            for key, each in found.own.items():
                flat = each.reshape(n, -1)
                if shape is not None:
                    read[key] = gram_block(flat, shape)
                elif readings[key] is Reading.GRADIENT:
                    read[key] = jnp.square(flat).sum(axis=1)
                else:
                    read[key] = flat
            for key, pairs in found.joined.items():
                shapes = [factors for factors, _ in self.found.factors(key)]
                uses = list(zip(shapes, pairs, strict=True))
                read[key] = joined_gram(uses, n, wanted, self.route, self.dtype)
            return read

        empty = dict.fromkeys([*zeros.own, *zeros.joined], jnp.zeros(wanted, self.dtype))
        return kernels, {**zeros.shared, **empty}

    def _places(
        self,
        readings: Mapping[int, Reading],
        entering: Sequence[Any],
        n: int,
        shape: tuple[int, int] | None,
    ) -> "_Zeros":
        """Returns the zeros whose cotangents are what is read off."""
        zeros = _Zeros({}, {}, {})
        for key, reading in readings.items():
            leading = self.found.leading(key)
            if reading is Reading.KERNEL:
                assert shape is not None
                zeros.shared[key] = jnp.zeros((*leading, *shape), self.dtype)
            elif reading is Reading.FACTORS:
                zeros.joined[key] = [
                    tuple(jnp.zeros((n, *each.shape[1:]), self.dtype) for each in pair)
                    for _, pair in self.found.factors(key)
                ]
            else:
                size = leading if reading is Reading.NORM else jnp.shape(entering[key])
                zeros.own[key] = jnp.zeros((n, *size), self.dtype)
        return zeros

    def _outputs(
        self,
        readings: Mapping[int, Reading],
        entering: Sequence[Any],
        others: Sequence[Any],
        x: Sequence[Array],
        looped: bool,
        zeros: "_Zeros",
    ) -> Array:
        """Returns the outputs of a batch, with places behind whatever uses a parameter."""
        statistics = self.program.axis is not None
        options = Options(self.route, self.dtype, self.narrow, statistics)

        def one(
            own: dict[int, Array], joined: dict[int, Any], example: Sequence[Array], tag: Array
        ) -> Array:
            given = {**zeros.shared, **own}
            places = {
                key: Place(reading, given.get(key))  # of factors, each site has its own
                for key, reading in readings.items()
            }
            roots = [Root((key,), value, places.get(key)) for key, value in enumerate(entering)]
            interpreter = Interpreter(options, tag, None, CONTROL_FLOW)
            interpreter.controlled = looped
            interpreter.joined = {
                (key, where): pair
                for key, pairs in joined.items()
                for where, pair in zip(self.found.uses[key], pairs, strict=True)
            }
            return interpret(self.program, interpreter, roots, others, example)

        tags = jnp.zeros(len(x[0]), jnp.float32)
        axis = self.program.axis and self.program.axis[0]
        return jax.vmap(one, axis_name=axis)(zeros.own, zeros.joined, list(x), tags)


class _Zeros(NamedTuple):
    """Places by the number of their parameter.

    Args:
        shared: of kernels, the same for all examples.
        own: of norms and gradients, (n, ...).
        joined: of factors, a pair for each use.
    """

    shared: dict[int, Array]
    own: dict[int, Array]
    joined: dict[int, list[tuple[Array, ...]]]
