"""When arrays are made and freed while a program runs, and the most bytes held at once.

A program is a list of operations on numbered arrays; :mod:`jaxntk.kernels.traced_program` makes one
from a traced function. An array is held from the operation that makes it to the last one that reads
it. A few rules say what XLA does to the list, each with its reason:

* What nobody reads is never made.
* Elementwise operations, slices and paddings are computed inside the one operation that reads them,
  if it works element by element too, and are then not stored ("fusion"); what they read lives
  longer instead. One that several operations read is stored. Broadcasts are always made again.
* An elementwise operation, and a loop, may write over an array of that size that it reads last.
* On the CPU operations run breadth first: each as soon as its operands are there, in the order in
  which that happens. XLA's CPU compiler chooses this so that many can run at the same time. It
  costs memory, since what is needed late is made early.
* Elsewhere they run in the order of the trace, but those that free as much as they take run as soon
  as they can, in place of the searches for little memory that XLA does there.

The rules were tuned on small networks against what the compiler reports;
``benchmarks/memory_estimate.py`` shows how far they hold on larger ones.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _names(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp clz complex conj "
    "convert_element_type copy cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt "
    "imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter not "
    "or population_count pow real reduce_precision rem round rsqrt select_n shift_left "
    "shift_right_arithmetic shift_right_logical sign sin sinh sqrt square sub tan tanh xor"
)
REBUILT = frozenset(["broadcast_in_dim", "iota"])
PIECES = _names("concatenate dynamic_slice gather pad rev slice split")
FUSIBLE = ELEMENTWISE | REBUILT | PIECES
"""Operations whose result can be computed where it is read."""

TAKES_IN = FUSIBLE | _names(
    "argmax argmin dynamic_update_slice reduce_and reduce_max reduce_min reduce_or reduce_prod "
    "reduce_sum"
)
"""Operations that can compute what they read."""

LOOPS = frozenset(["scan", "while"])


class Peak(NamedTuple):
    """The most that is held at once, in bytes, and the operation during which it is."""

    size: int
    operation: str


NOTHING = Peak(0, "")


@dataclass(frozen=True)
class Operation:
    """One operation on numbered arrays.

    Args:
        name: of the primitive.
        reads: the arrays it needs.
        writes: the arrays it makes.
        inside: what it holds beside them while it runs.
    """

    name: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    inside: Peak = NOTHING


def peak(
    operations: Sequence[Operation],
    sizes: Sequence[int],
    owned: Sequence[int],
    kept: Sequence[int],
    *,
    on_cpu: bool,
) -> Peak:
    """Returns the most that a program holds at once.

    Args:
        operations: the program, in an order in which it could run.
        sizes: of the arrays, in bytes, by their number.
        owned: arrays that are there at the start and are freed after their last use. Any other that
            the program reads and does not make is held elsewhere and does not count.
        kept: arrays that live to the end.
        on_cpu: whether the CPU runs it, else an accelerator.

    Returns:
        The bytes, and the operation during which they are held.

    Example:
        >>> double = Operation("mul", (0,), (1,))
        >>> product = Operation("dot_general", (1, 1), (2,))
        >>> peak([double, product], [8, 8, 4], owned=[0], kept=[2], on_cpu=True)
        Peak(size=12, operation='dot_general')
    """
    stored = _fuse(operations, set(kept))
    ordered = _breadth_first(stored) if on_cpu else _shrinking_first(stored, sizes, set(kept))
    return _sweep(ordered, sizes, owned, kept)


def _fuse(operations: Sequence[Operation], kept: set[int]) -> list[Operation]:
    """Drops what nobody reads and what is computed where it is read."""
    needed, live = set(kept), []
    for each in reversed(operations):
        if not each.writes or not needed.isdisjoint(each.writes):
            live.append(each)
            needed.update(each.reads)
    live.reverse()
    readers: dict[int, list[Operation]] = defaultdict(list)
    for each in live:
        for array in set(each.reads):
            readers[array].append(each)
    sources: dict[int, tuple[int, ...]] = {}
    stored = []
    for each in live:
        # What an array that is not stored was made from, itself for one that is.
        reads = {origin: None for array in each.reads for origin in sources.get(array, (array,))}
        users = [user for array in each.writes for user in readers[array]]
        inlined = (
            each.name in FUSIBLE
            and kept.isdisjoint(each.writes)
            and (len(users) <= 1 or each.name in REBUILT)
            and all(user.name in TAKES_IN for user in users)
        )
        if inlined:
            sources.update(dict.fromkeys(each.writes, tuple(reads)))
        else:
            stored.append(replace(each, reads=tuple(reads)))
    return stored


def _dependents(operations: Sequence[Operation]) -> tuple[list[list[int]], list[int]]:
    """Returns, for each operation, those that wait for it, and for how many it waits itself."""
    maker = {array: index for index, each in enumerate(operations) for array in each.writes}
    dependents: list[list[int]] = [[] for _ in operations]
    waits = []
    for index, each in enumerate(operations):
        needs = {maker[array] for array in each.reads if array in maker}
        waits.append(len(needs))
        for need in needs:
            dependents[need].append(index)
    return dependents, waits


def _breadth_first(operations: Sequence[Operation]) -> list[Operation]:
    dependents, waits = _dependents(operations)
    ready = deque(index for index, count in enumerate(waits) if count == 0)
    order = []
    while ready:
        index = ready.popleft()
        order.append(operations[index])
        for dependent in dependents[index]:
            waits[dependent] -= 1
            if waits[dependent] == 0:
                ready.append(dependent)
    return order


def _shrinking_first(
    operations: Sequence[Operation], sizes: Sequence[int], kept: set[int]
) -> list[Operation]:
    dependents, waits = _dependents(operations)
    readers: dict[int, set[int]] = defaultdict(set)
    for index, each in enumerate(operations):
        for array in each.reads:
            readers[array].add(index)
    order: dict[int, Operation] = {}

    def shrinks(index: int) -> bool:
        each = operations[index]
        freed = (array for array in each.reads if readers[array] == {index} and array not in kept)
        return sum(sizes[array] for array in freed) >= sum(sizes[array] for array in each.writes)

    for start in range(len(operations)):
        pending = [start]
        while pending:
            index = pending.pop()
            if index in order or waits[index]:
                continue
            order[index] = operations[index]
            for dependent in dependents[index]:
                waits[dependent] -= 1
            touched = set(dependents[index])
            for array in operations[index].reads:
                readers[array].discard(index)
                touched |= readers[array]
            pending += sorted((each for each in touched if shrinks(each)), reverse=True)
    return list(order.values())


def _sweep(
    operations: Sequence[Operation],
    sizes: Sequence[int],
    owned: Sequence[int],
    kept: Sequence[int],
) -> Peak:
    """Runs the operations in their order and returns the most that was held."""
    last = {array: index for index, each in enumerate(operations) for array in each.reads}
    last |= dict.fromkeys(kept, len(operations))
    live = {array for array in owned if array in last}
    held = sum(sizes[array] for array in live)
    most = Peak(held, "inputs")
    for index, each in enumerate(operations):
        made = sum(sizes[array] for array in each.writes)
        dying = [array for array in each.reads if array in live and last[array] == index]
        taken_over = 0
        if each.name in TAKES_IN or each.name in LOOPS:
            free = [sizes[array] for array in dying]
            for size in (sizes[array] for array in each.writes):
                if size in free:
                    free.remove(size)
                    taken_over += size
        now = held + made - taken_over + each.inside.size
        if now > most.size:
            within = f"/{each.inside.operation}" if each.inside.size else ""
            most = Peak(now, each.name + within)
        live.update(array for array in each.writes if array in last)
        live.difference_update(dying)
        held = sum(sizes[array] for array in live)
    return most
