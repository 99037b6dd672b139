"""How a kernel will be computed, parameter by parameter, before anything is."""

from collections.abc import Mapping
from typing import NamedTuple

from jaxntk.kernels.parameters import Path
from jaxntk.kernels.traced.contraction import Route, choose
from jaxntk.kernels.traced.joined import joined_route
from jaxntk.kernels.traced.survey import Survey
from jaxntk.kernels.traced.taps import Reading


class ParameterPlan(NamedTuple):
    """How the kernel of one parameter will be computed.

    Args:
        way: ``factorised`` or ``materialised``, where it is used; the same after ``joined,`` where
            the factors of its uses are contracted together, at the end; ``collected`` where the
            gradients of each example are added up over its uses, and multiplied at the end;
            ``unused``.
        operations: the operations that use it.
        size: its number of entries.
        reason: why it is joined or collected; else empty.
    """

    way: str
    operations: tuple[str, ...]
    size: int
    reason: str


class NtkPlan(NamedTuple):
    """How a kernel will be computed; a table under ``str``.

    Args:
        method: of all parameters that enter.
        parameters: how each is taken care of; empty for other methods than ``gram``.
        count: outputs of one example.
    """

    method: str
    parameters: Mapping[Path, ParameterPlan]
    count: int

    def share(self, *ways: str) -> float:
        """Returns the share of the parameters, by size, whose way names one of some."""
        sizes = [each.size for each in self.parameters.values() if each.way != "unused"]
        some = sum(
            each.size for each in self.parameters.values() if any(way in each.way for way in ways)
        )
        return some / max(sum(sizes), 1)

    def __str__(self) -> str:
        if not self.parameters:
            return self.method
        lines = [f"{self.method}: {len(self.parameters)} parameters"]
        width = max(len("/".join(path)) for path in self.parameters)
        for path, each in self.parameters.items():
            reason = f" ({each.reason})" if each.reason else ""
            used = ", ".join(dict.fromkeys(each.operations))
            line = f"  {'/'.join(path):<{width}}  {each.size:>9,}  {each.way:<20}  {used}{reason}"
            lines.append(line.rstrip())
        return "\n".join(lines)


def gram_plan(
    found: Survey,
    paths: list[Path],
    sizes: list[int],
    count: int,
    shape: tuple[int, int, int],
    route: Route | str,
) -> NtkPlan:
    """Returns the plan that follows from a survey.

    Args:
        found: the survey.
        paths: of the parameters that enter.
        sizes: of these.
        count: outputs of one example.
        shape: examples in all, rows and columns of the kernel.
        route: how gradients are contracted.

    Returns:
        The plan.
    """
    plans = {}
    for key, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        uses = list(found.uses.get(key, {}).values())
        operations = tuple(use.operation for use in uses)
        reading = found.reading(key)
        if reading is None:
            plans[path] = ParameterPlan("unused", (), size, "")
        elif reading is Reading.FACTORS:
            way = "joined, " + joined_route(found.factors(key), shape[0], shape[1:], route)
            plans[path] = ParameterPlan(way, operations, size, found.why_gradient(key))
        elif reading is Reading.GRADIENT:
            plans[path] = ParameterPlan("collected", operations, size, found.why_gradient(key))
        else:
            ways = {
                choose(use.gradients, shape[0], shape[1:], route)
                if use.gradients is not None
                else "materialised"
                for use in uses
            }
            plans[path] = ParameterPlan(" or ".join(sorted(ways)), operations, size, "")
    return NtkPlan("gram", plans, count)
