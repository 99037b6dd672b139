"""How the Gram rules compare with neural-tangents' methods and with per-example gradients.

    python -m benchmarks.gram_against_other_methods --case nasbench201

Four cases, for the kernel of the summed logits: ``nasbench201`` (16 channels, 5 cells a stage,
CIFAR-10-sized images, n = 64, ten different cells), where the claim is that ``gram`` is at least 5
times as fast as the best of neural-tangents' three methods, compilation included; ``vit_224``
(ViT-Tiny, patches of 16), ``vit_32`` (patches of 4) and ``mlp``.

Every method runs in this process, in turns; kernels have to agree. On NAS-Bench-201 ``gram`` is
compiled once for all cells, and the others once a cell, for the ordinary network of that cell;
those of ``--same-function`` are timed on the network function of ``gram`` as well, compiled once
(:mod:`benchmarks.gram_against_other_methods_cells`). Batch statistics are held constant in both. A
method that takes more than ``give_up`` times as long as the best other one on the first case is not
run on the next cells. Images are noise: their content does not change the work.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console

from benchmarks.gram_against_other_methods_cells import ORDINARY, SAME, Variant, draw_cells
from benchmarks.gram_against_other_methods_figure import figure, result_table
from benchmarks.measure import Measured, compile_call, run_seconds, set_up, write_record
from benchmarks.networks import Mlp, VisionTransformer
from jaxntk.errors import InputError
from jaxntk.kernels.arguments import Method
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.runs.publish import write_figure
from jaxntk.spaces import nasbench201

PROGRAM = "python -m benchmarks.gram_against_other_methods"
METHODS: tuple[Method, ...] = (
    "gram",
    "per_example_gradients",
    "jacobian_contraction",
    "structured_derivatives",
    "ntk_vector_products",
)
TOLERANCE = 5e-2
"""Relative to the largest entry; in float32 rounding changes the sign of some inputs of a ReLU."""
DIFFERS, BAD_INPUT = 1, 2
RESULTS = Path("benchmarks/results")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the methods on one case."""

    case: Literal["nasbench201", "vit_224", "vit_32", "mlp"]
    """The network."""
    n: int = 64
    """Examples."""
    cells: int = 10
    """Cells of NAS-Bench-201."""
    seed: int = 0
    """Of parameters, inputs and cells."""
    cores: int = 2
    """Cores that this process may use."""
    methods: tuple[Method, ...] = METHODS
    """Those that are timed; on NAS-Bench-201 all but gram on the ordinary network of each cell."""
    same_function: tuple[Method, ...] = ()
    """Those that are timed on gram's own network function too (NAS-Bench-201)."""
    give_up: float = 4.0
    """Times the best other method that a method may take to stay in."""
    tiny: bool = False
    """A small network of the same kind, for a quick look."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Where to run."""
    out: Path | None = None
    """JSON file to write; the picture goes beside it."""


KernelOf = Callable[[Method], tuple[Callable[..., jax.Array], tuple[Any, ...]]]


def ordinary_case(options: Options) -> KernelOf:
    """Returns what makes, for a method, the kernel function and its arguments.

    Args:
        options: the options.

    Returns:
        A function of the method.
    """
    key = jax.random.key(options.seed)
    if options.case == "mlp":
        shape, model = (784,), Mlp(16 if options.tiny else 1024, 3, 10)
    else:
        side, patch = (224, 16) if options.case == "vit_224" else (32, 4)
        small = {"width": 12, "depth": 2} if options.tiny else {}
        side = 2 * patch if options.tiny else side
        shape, model = (side, side, 3), VisionTransformer(patch, **small)
    x = jax.random.normal(key, (options.n, *shape))
    params = jax.jit(model.init)(key, x[:2])["params"]

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        out: Any = model.apply({"params": params}, x)
        return out

    def kernel_of(method: Method) -> tuple[Callable[..., jax.Array], tuple[Any, ...]]:
        return partial(empirical_ntk, apply_fn, outputs="sum", method=method), (params, x)

    return kernel_of


def warm_up(methods: tuple[Method, ...]) -> None:
    """Compiles every method once on a tiny network: the first to come would pay for imports.

    Args:
        methods: those that are going to be timed.
    """
    model, x = Mlp(4, 1, 2), jnp.ones((3, 5))
    params = model.init(jax.random.key(0), x)["params"]

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        out: Any = model.apply({"params": params}, x)
        return out

    for method in methods:
        compile_call(partial(empirical_ntk, apply_fn, outputs="sum", method=method), params, x)


def time_ordinary(options: Options, console: Console) -> list[dict[str, Any]]:
    """Times every method on one network.

    Args:
        options: the options.
        console: where progress is shown.

    Returns:
        One row a method.

    Raises:
        InputError: the kernels differ.
    """
    kernel_of = ordinary_case(options)
    compiled, results, rows = {}, {}, []
    for method in options.methods:
        console.print(f"{method} ...", highlight=False)
        function, arguments = kernel_of(method)
        compiled[method] = compile_call(function, *arguments)
    calls = {method: made.call for method, made in compiled.items()}
    times = run_seconds(_keeping(results, calls), repeats=7)
    for method, made in compiled.items():
        rows.append({
            "case": options.case,
            "method": method,
            "network": SAME,
            "compile_seconds": made.compile_seconds,
            "run_seconds": times[method],
            "memory_bytes": made.memory_bytes,
            "relative_error": relative_error(results[method], results["gram"]),
        })
    return rows


def time_cells(options: Options, console: Console) -> list[dict[str, Any]]:
    """Times every method on the cells of NAS-Bench-201.

    Args:
        options: the options.
        console: where progress is shown.

    Returns:
        One row a cell and method; a compilation that serves all cells stands in its first row.

    Raises:
        InputError: the kernels differ.
    """
    cells = draw_cells(options.n, options.cells, options.seed, tiny=options.tiny)
    left = [Variant(method, method == "gram") for method in options.methods]
    left += [Variant(method, True) for method in options.same_function]
    rows: list[dict[str, Any]] = []
    once: dict[str, Measured] = {}
    for index, arch in enumerate(cells.archs):
        case = nasbench201.format_ops(arch)
        calls, made, results = {}, {}, {}
        for variant in left:
            name = variant.name
            console.print(f"cell {case}, {name} ...", highlight=False)
            function, arguments = cells.kernel(variant, arch)
            if name not in once:
                made[name] = compile_call(function, *arguments)
            if variant.same_function:
                once |= {name: made[name]} if name in made else {}
                calls[name] = partial(_call, once[name].executable, arguments)
            else:
                calls[name] = made[name].call
        times = run_seconds(_keeping(results, calls), repeats=3)
        for variant in left:
            name = variant.name
            made_here = made.get(name)
            rows.append({
                "case": case,
                "method": name,
                "network": SAME if variant.same_function else ORDINARY,
                "compile_seconds": made_here.compile_seconds if made_here else 0.0,
                "run_seconds": times[name],
                "memory_bytes": made_here.memory_bytes if made_here else None,
                "relative_error": relative_error(results[name], results["gram"]),
            })
        if index == 0:
            worth = _worth_going_on(rows, options.give_up, options.cells)
            left = [variant for variant in left if variant.name in worth]
    return rows


def _keeping(
    results: dict[str, np.ndarray], calls: Mapping[str, Callable[[], np.ndarray]]
) -> dict[str, Callable[[], None]]:
    """Returns calls that put what they give into ``results``."""

    def keep(name: str) -> None:
        results[name] = calls[name]()

    return {name: partial(keep, name) for name in calls}


def _call(executable: Callable[..., jax.Array], arguments: tuple[Any, ...]) -> np.ndarray:
    return np.asarray(executable(*arguments))


def _worth_going_on(rows: list[dict[str, Any]], give_up: float, cells: int) -> list[str]:
    """Names those that are not too slow on the first cell; all share what is compiled once."""
    cost = {
        row["method"]: min(row["run_seconds"])
        + row["compile_seconds"] / (cells if row["network"] == SAME else 1)
        for row in rows
    }
    best = min(value for method, value in cost.items() if method != "gram")
    return [method for method, value in cost.items() if value <= give_up * best]


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """Returns the largest difference over the largest entry.

    Args:
        got: a kernel.
        wanted: another.

    Returns:
        Their distance.
    """
    scale = float(np.max(np.abs(wanted)))
    apart = float(np.max(np.abs(got - wanted)))
    return apart / scale if scale > 0 else apart


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Takes, for each method, means over the cases that it ran on, and ratios to ``gram`` there.

    Args:
        rows: one a case and method.

    Returns:
        For each method its network function, the mean seconds a case with and without compilation,
        and how many times as long as ``gram`` it took on the same cases. A compilation that serves
        all cases is shared by all of them.
    """
    cases = list(dict.fromkeys(row["case"] for row in rows))
    by = {(row["case"], row["method"]): row for row in rows}
    summary = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [case for case in cases if (case, method) in by]
        run = np.mean([np.median(by[case, method]["run_seconds"]) for case in mine])
        gram_run = np.mean([np.median(by[case, "gram"]["run_seconds"]) for case in mine])
        whole = run + _compile_seconds(rows, method, len(cases))
        gram_whole = gram_run + _compile_seconds(rows, "gram", len(cases))
        summary[method] = {
            "network": by[mine[0], method]["network"],
            "cases": len(mine),
            "seconds": float(whole),
            "seconds_without_compile": float(run),
            "times_gram": float(whole / gram_whole),
            "times_gram_without_compile": float(run / gram_run),
            "memory_bytes": max((by[case, method]["memory_bytes"] or 0) for case in mine),
            "largest_relative_error": float(
                np.max([by[case, method]["relative_error"] for case in mine])
            ),
        }
    return summary


def _compile_seconds(rows: list[dict[str, Any]], method: str, cases: int) -> float:
    """Returns the part of a method's compilations that falls to one case."""
    mine = [row for row in rows if row["method"] == method]
    shared = mine[0]["network"] == SAME
    return sum(row["compile_seconds"] for row in mine) / (cases if shared else len(mine))


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code: 0, 1 where the kernels disagree, which is not recorded, 2 after bad input.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    console = Console()
    try:
        if "gram" not in options.methods:
            raise InputError("methods", options.methods, "name gram too: the others go beside it")
        if options.same_function and options.case != "nasbench201":
            cure = "leave it out: here every method is timed on the same function"
            raise InputError("same_function", options.same_function, cure)
        if "gram" in options.same_function:
            raise InputError("same_function", options.same_function, "name other methods only")
        set_up(options.cores, None if options.device == "gpu" else "cpu")
        warm_up(options.methods)
        timer = time_cells if options.case == "nasbench201" else time_ordinary
        rows = timer(options, console)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    summary = summarize(rows)
    worst = np.max([entry["largest_relative_error"] for entry in summary.values()])
    if not worst <= TOLERANCE:
        print(f"error: the kernels differ by {worst:.2g} of their largest entry", file=sys.stderr)
        return DIFFERS
    out = options.out or RESULTS / f"gram_against_other_methods_{options.case}.json"
    write_record(out, PROGRAM, options, rows=rows, summary=summary)
    title = f"{options.case}, n = {options.n}, {options.device}: one kernel of the summed logits"
    write_figure(out.with_suffix(".png"), figure(rows, summary, title))
    console.print(result_table(summary, title))
    return 0


if __name__ == "__main__":
    sys.exit(main())
