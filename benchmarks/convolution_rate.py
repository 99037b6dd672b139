"""How near the forward and backward passes of NAS-Bench-201 come to the machine's own rates.

    python -m benchmarks.convolution_rate

The claim: the forward and backward part of a kernel (16 channels, 5 cells a stage, 32x32 images, a
cell of six 3x3 convolutions) runs at half of the machine's convolution rate or more. The rate of
the machine is that of single convolutions of the same three shapes, compiled alone; the arithmetic
counted for the network is one convolution forward and one backward for each layer, so what is
computed a second time counts as lost, and so do normalisation, ReLU and sums. The whole kernel is
put beside the rate of a large matrix product.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import lax
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks.measure import compile_call, run_seconds, set_up, write_record
from jaxntk.errors import InputError
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.program import layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.results import theme
from jaxntk.runs.publish import write_figure

PROGRAM = "python -m benchmarks.convolution_rate"
CELL = (3, 3, 3, 3, 3, 3)
EDGES_A_CELL = 6
MATRIX = 2048


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the rates."""

    n: int = 64
    """Images."""
    channels: int = 16
    """Of the first stage."""
    cells: int = 5
    """A stage."""
    cores: int = 2
    """Cores that this process may use."""
    device: str = "cpu"
    """Where to run."""
    out: Path = Path("benchmarks/results/convolution_rate.json")
    """JSON file to write; the picture goes beside it."""


def stages(options: Options) -> list[tuple[int, int]]:
    """Lists side and channels of each stage.

    Args:
        options: the options.

    Returns:
        Three pairs.
    """
    return [(32 // 2**stage, options.channels * 2**stage) for stage in range(3)]


def convolution_flops(n: int, side: int, channels: int) -> float:
    """Counts multiplications and additions of a 3x3 convolution with "same" padding.

    Args:
        n: images.
        side: of the images.
        channels: in and out.

    Returns:
        The count.
    """
    return 2.0 * n * side**2 * 9 * channels**2


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    try:
        set_up(options.cores, "cpu" if options.device == "cpu" else None)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    calls, flops = _machine_calls(options)
    network_calls, network_flops = _network_calls(options)
    calls |= network_calls
    flops |= network_flops
    times = run_seconds(calls, repeats=15)
    best = {name: float(np.min(each)) for name, each in times.items()}
    rates = {name: flops[name] / best[name] for name in calls}
    convolutions = [name for name in rates if name.startswith("convolution")]
    # The network does as much arithmetic in each stage; so times add, not rates.
    machine = sum(flops[c] for c in convolutions) / sum(best[c] for c in convolutions)
    summary = {
        "convolution_rate": machine,
        "matrix_rate": rates["matrix product"],
        "forward_backward_rate": rates["forward and backward"],
        "kernel_rate": rates["kernel"],
        "forward_backward_over_convolution": rates["forward and backward"] / machine,
        "kernel_over_matrix": rates["kernel"] / rates["matrix product"],
        "forward_backward_over_kernel_time": best["forward and backward"] / best["kernel"],
    }
    write_record(
        options.out, PROGRAM, options, seconds=times, flops=flops, rates=rates, summary=summary
    )
    write_figure(options.out.with_suffix(".png"), figure(rates, machine))
    console = Console()
    for name, rate in rates.items():
        console.print(f"{name:34} {best[name] * 1e3:9.2f} ms {rate / 1e9:8.1f} GFLOP/s")
    for name, value in summary.items():
        if "over" in name:
            console.print(f"{name:34} {value:9.2f}")
    return 0


def figure(rates: dict[str, float], convolution_rate: float) -> Figure:
    """Draws the rates.

    Args:
        rates: FLOP/s, by what was run.
        convolution_rate: of the machine, FLOP/s.

    Returns:
        The figure.
    """
    drawn = Figure(figsize=(7.2, 2.8), layout="constrained")
    drawn.set_facecolor(theme.SURFACE)
    ax = drawn.subplots()
    names = list(rates)[::-1]
    values = [rates[name] / 1e9 for name in names]
    ours = ("forward and backward", "kernel")
    colours = [theme.METRIC if name in ours else theme.BASELINE for name in names]
    ax.barh(names, values, height=0.6, color=colours, linewidth=0)
    for place, value in enumerate(values):
        ax.text(value, place, f" {value:.0f}", va="center", fontsize=8, color=theme.MUTED)
    ax.axvline(convolution_rate / 2e9, color=theme.INK, linewidth=0.8, linestyle="--")
    ax.margins(x=0.08)
    rate = "GFLOP/s; dashed: half of the convolution rate"
    theme.style_axes(ax, xlabel=rate, grid="x", spines=("left",))
    ax.set_title(
        "NAS-Bench-201, a cell of 3x3 convolutions, against this machine's rates",
        loc="left",
        color=theme.INK,
        fontsize=10,
    )
    return drawn


def _machine_calls(options: Options) -> tuple[dict[str, Any], dict[str, float]]:
    calls, flops = {}, {}
    rng = np.random.default_rng(0)
    for side, channels in stages(options):
        x = jnp.asarray(rng.normal(size=(options.n, side, side, channels)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(3, 3, channels, channels)), jnp.float32)
        name = f"convolution {side}x{side}x{channels}"
        calls[name] = compile_call(_convolution, x, kernel).call
        flops[name] = convolution_flops(options.n, side, channels)
    matrix = jnp.asarray(rng.normal(size=(MATRIX, MATRIX)), jnp.float32)
    calls["matrix product"] = compile_call(_product, matrix, matrix).call
    flops["matrix product"] = 2.0 * MATRIX**3
    return calls, flops


def _convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    out = lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers, precision=lax.Precision.HIGHEST
    )
    # One number, so that no time goes into copying the result to the host.
    return out[0, 0, 0, 0]


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)[0, 0]


def _network_calls(options: Options) -> tuple[dict[str, Any], dict[str, float]]:
    network = NasBench201(10, options.channels, options.cells, BatchNormMode.FROZEN)
    variables = init_variables(network, jax.random.key(0), (32, 32, 3), jnp.dtype("float32"))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(options.n, 32, 32, 3)), jnp.float32)
    arch = jnp.asarray(CELL, jnp.int32)
    kernels = layer_kernel_fn(cell_model(network), KernelSettings(batch_norm="frozen"), x.shape[1:])

    def kernel(variables: Any, x: jax.Array, arch: jax.Array) -> jax.Array:
        return total(kernels(variables, x, arch))

    def forward_backward(variables: Any, x: jax.Array, arch: jax.Array) -> jax.Array:
        def logit_sum(x: jax.Array) -> jax.Array:
            out: Any = network.apply(variables, x, arch)
            return out.sum()

        return jax.grad(logit_sum)(x)[0, 0, 0, 0]

    count = EDGES_A_CELL * options.cells
    one_way = sum(count * convolution_flops(options.n, *stage) for stage in stages(options))
    gradients = one_way
    products = sum(count * 2.0 * options.n**2 * 9 * channels**2 for _, channels in stages(options))
    arguments = (variables, x, arch)
    calls = {
        "forward and backward": compile_call(forward_backward, *arguments).call,
        "kernel": compile_call(kernel, *arguments).call,
    }
    return calls, {
        "forward and backward": 2 * one_way,
        "kernel": 2 * one_way + gradients + products,
    }


if __name__ == "__main__":
    sys.exit(main())
