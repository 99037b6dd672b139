"""How the Gram rules compare with neural-tangents' methods and with per-example gradients.

    python -m benchmarks.gram_against_other_methods --case nasbench201

Four cases, for the kernel of the summed logits: ``nasbench201`` (16 channels, 5 cells a stage,
CIFAR-10-sized images, n = 64, ten different cells), where the claim is that ``gram`` is at least 5
times as fast as the best of neural-tangents' three methods, compilation included; ``vit_224``
(ViT-Tiny, patches of 16), ``vit_32`` (patches of 4) and ``mlp``.

Every method runs in this process, in turns; kernels have to agree. On NAS-Bench-201 ``gram`` is
compiled once for all cells, and the others, which know no switch, once a cell, for the plain
network of that cell (:mod:`jaxntk.networks.nasbench201_plain`), batch statistics held constant in
both. A method that takes more than ``give_up`` times as long as the best other one on the first
case is not run on the next cells. Images are noise: their content does not change the work.
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
from flax import traverse_util
from rich.console import Console

from benchmarks.gram_against_other_methods_figure import figure, result_table
from benchmarks.measure import compile_call, run_seconds, set_up, write_record
from benchmarks.naive_kernel import PerCell, used_paths
from benchmarks.networks import Mlp, VisionTransformer
from jaxntk.errors import InputError
from jaxntk.kernels.empirical import Method, empirical_ntk
from jaxntk.kernels.layer_kernels import total
from jaxntk.networks.nasbench201 import BatchNormMode, NasBench201, init_variables
from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize
from jaxntk.results.publish import write_figure
from jaxntk.spaces import nasbench201
from jaxntk.studies.scoring import KernelSettings, layer_kernel_fn

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
    """Those that are timed."""
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
        One row a cell and method; the one compilation of ``gram`` stands in its first row.

    Raises:
        InputError: the kernels differ.
    """
    small = {"channels": 2, "cells_per_stage": 1} if options.tiny else {}
    network = NasBench201(
        **({"num_classes": 10, "channels": 16, "cells_per_stage": 5} | small),
        batch_norm=BatchNormMode.FROZEN,
    )
    side = 8 if options.tiny else 32
    rng = np.random.default_rng(options.seed)
    x = jnp.asarray(rng.normal(size=(options.n, side, side, 3)), jnp.float32)
    variables = init_variables(
        network, jax.random.key(options.seed), x.shape[1:], jnp.dtype("float32")
    )
    kernels = layer_kernel_fn(network, KernelSettings(batch_norm="frozen"), x.shape[1:])

    def gram(variables: Any, x: jax.Array, arch: jax.Array) -> jax.Array:
        return total(kernels(variables, x, arch))

    rows: list[dict[str, Any]] = []
    left = list(options.methods)
    every_cell = nasbench201.enumerate_space()
    drawn = rng.choice(len(every_cell), size=options.cells, replace=False)
    executable = None
    for index, arch in enumerate(every_cell[drawn]):
        cell = tuple(int(op) for op in arch)
        calls, made, results = {}, {}, {}
        for method in left:
            console.print(f"cell {nasbench201.format_ops(arch)}, {method} ...", highlight=False)
            if method == "gram":
                arguments = (variables, x, jnp.asarray(arch, jnp.int32))
                if executable is None:
                    executable = jax.jit(gram)
                    made[method] = compile_call(gram, *arguments)
                    executable(*arguments)
                call = partial(_call, executable, arguments)
            else:
                made[method] = compile_call(plain_kernel(cell, method), variables["params"], x)
                call = made[method].call
            calls[method] = call
        times = run_seconds(_keeping(results, calls), repeats=3)
        for method in calls:
            made_here = made.get(method)
            rows.append({
                "case": nasbench201.format_ops(arch),
                "method": method,
                "compile_seconds": made_here.compile_seconds if made_here else 0.0,
                "run_seconds": times[method],
                "memory_bytes": made_here.memory_bytes if made_here else None,
                "relative_error": relative_error(results[method], results["gram"]),
            })
        if index == 0:
            left = _worth_going_on(rows, options.give_up)
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


def _worth_going_on(rows: list[dict[str, Any]], give_up: float) -> list[Method]:
    cost = {row["method"]: row["compile_seconds"] + min(row["run_seconds"]) for row in rows}
    best = min(value for method, value in cost.items() if method != "gram")
    return [method for method, value in cost.items() if value <= give_up * best]


def plain_kernel(arch: tuple[int, ...], method: Method) -> Callable[..., jax.Array]:
    """Returns the kernel of one cell's plain network by one of the other methods.

    The cells of a stage are parameters of their own and only those that reach the output enter, so
    that no time goes into gradients that are zero anyway.

    Args:
        arch: six operations as Python numbers.
        method: the method.

    Returns:
        ``(params, x) -> kernel``.
    """

    def kernel(params: Any, x: jax.Array) -> jax.Array:
        statistics = batch_statistics(params, x, arch)
        flat = traverse_util.flatten_dict(params)
        used = set(used_paths(params, arch))
        apart = {
            path: dict(enumerate(leaf)) if path[0].startswith("stage_") else leaf
            for path, leaf in flat.items()
            if path in used
        }

        def apply_fn(entering: Any, x: jax.Array) -> jax.Array:
            leaves = {
                path: PerCell(tuple(leaf.values())) if isinstance(leaf, dict) else leaf
                for path, leaf in entering.items()
            }
            tree = traverse_util.unflatten_dict({**flat, **leaves})
            return plain_logits(tree, x, arch, lambda path, x: standardize(x, *statistics[path]))

        return empirical_ntk(apply_fn, apart, x, outputs="sum", method=method)

    return kernel


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


def summarize(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Takes, for each method, means over the cases that it ran on, and ratios to ``gram`` there.

    Args:
        rows: one a case and method.

    Returns:
        For each method the mean seconds a case with and without compilation, and how many times as
        long as ``gram`` it took on the same cases (its one compilation shared by all cases).
    """
    cases = list(dict.fromkeys(row["case"] for row in rows))
    by = {(row["case"], row["method"]): row for row in rows}
    compile_once = sum(row["compile_seconds"] for row in rows if row["method"] == "gram")
    summary = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [case for case in cases if (case, method) in by]
        run = np.mean([np.median(by[case, method]["run_seconds"]) for case in mine])
        whole = run + np.mean([by[case, method]["compile_seconds"] for case in mine])
        gram_run = np.mean([np.median(by[case, "gram"]["run_seconds"]) for case in mine])
        if method == "gram":
            whole = run + compile_once / len(cases)
        summary[method] = {
            "cases": len(mine),
            "seconds": float(whole),
            "seconds_without_compile": float(run),
            "times_gram": float(whole / (gram_run + compile_once / len(cases))),
            "times_gram_without_compile": float(run / gram_run),
            "memory_bytes": max((by[case, method]["memory_bytes"] or 0) for case in mine),
            "largest_relative_error": float(
                np.max([by[case, method]["relative_error"] for case in mine])
            ),
        }
    return summary


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
