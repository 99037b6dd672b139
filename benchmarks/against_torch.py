"""The kernel of NAS-Bench-201 cells by Gram rules, and by ``torch.func`` on the same weights.

    python -m benchmarks.against_torch

Needs PyTorch beside jaxntk (``pip install torch``, nothing else does). The network at full size
(16 channels, 5 cells a stage, CIFAR-10-sized images, n = 64), the kernel of the summed logits with
the statistics of the batch held constant, in float32 on two CPU cores: ``gram``, one compiled
program for all cells, against ``vmap(grad)`` and one product a parameter, written for each cell as
one would in PyTorch (the convolutions are oneDNN's). Ten random cells, six 3x3 convolutions, six
poolings, and the lightest cell of those that have a parameter; in turns, compilation apart.
Kernels have to agree, but for cells without a path from input to output: theirs is rounding.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.gram_against_other_methods_cells import draw_cells, gram_kernel
from benchmarks.measure import run_seconds, set_up, write_record
from jaxntk.errors import InputError
from jaxntk.networks.layers import BATCH_NORM_EPSILON
from jaxntk.networks.nasbench201_plain import batch_statistics
from jaxntk.spaces.nasbench201 import EDGES, OPS, is_connected

PROGRAM = "python -m benchmarks.against_torch"
TOLERANCE = 5e-2
"""Relative to the largest entry; in float32 rounding changes the sign of some inputs of a ReLU."""
FIXED = {"six 3x3 convolutions": (3,) * 6, "six poolings": (4,) * 6, "lightest": (0, 0, 0, 2, 0, 0)}
DIFFERS, BAD_INPUT = 1, 2

Tensors = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time both."""

    n: int = 64
    """Images."""
    cells: int = 10
    """Random cells, beside the three that are named."""
    seed: int = 0
    """Of parameters, images and cells."""
    repeats: int = 7
    """Of each."""
    cores: int = 2
    """Cores that this process may use."""
    tiny: bool = False
    """A small network of the same kind, for a quick look."""
    out: Path = Path("benchmarks/results/against_torch.json")
    """JSON file to write."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark.

    Args:
        arguments: the command line without the program's name; by default the process's own.

    Returns:
        The exit code.
    """
    options = tyro.cli(Options, args=arguments, prog=PROGRAM)
    try:
        set_up(options.cores)
        torch = _import_torch(options.cores)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    cells = draw_cells(options.n, options.cells, options.seed, tiny=options.tiny)
    named = {f"random {at}": tuple(map(int, arch)) for at, arch in enumerate(cells.archs)}
    ours = gram_kernel(cells.network, cells.x.shape[1:])
    arguments_of = lambda arch: (cells.variables, cells.x, jnp.asarray(arch, jnp.int32))  # noqa: E731
    compiled = jax.jit(ours).lower(*arguments_of(FIXED["six poolings"])).compile()
    rows = []
    for name, arch in {**named, **FIXED}.items():
        theirs = torch_kernel(torch, cells.variables["params"], cells.x, arch)
        given = arguments_of(arch)
        calls = {"gram": lambda given=given: np.asarray(compiled(*given)), "torch": theirs}
        wanted, got = (call() for call in (calls["torch"], calls["gram"]))
        times = run_seconds(calls, options.repeats)
        rows.append({
            "cell": name,
            "arch": arch,
            "seconds": {key: float(np.median(each)) for key, each in times.items()},
            "connected": bool(is_connected(np.asarray(arch))),
            "relative_error": float(np.abs(got - wanted).max() / np.abs(wanted).max()),
        })
        Console().print(f"{name}: {rows[-1]['seconds']}, {rows[-1]['relative_error']:.1e}")
    means = {
        key: float(np.mean([row["seconds"][key] for row in rows[: options.cells]]))
        for key in ("gram", "torch")
    }
    summary = {
        "mean_seconds_of_random_cells": means,
        "gram_over_torch": means["gram"] / means["torch"],
        "torch": torch.__version__,
    }
    write_record(options.out, PROGRAM, options, rows=rows, summary=summary)
    Console().print(result_table(rows))
    Console().print(summary)
    compared = [row["relative_error"] for row in rows if row["connected"]]
    return 0 if max(compared) <= TOLERANCE else DIFFERS


def _import_torch(cores: int) -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("torch", "no such package here", "pip install torch") from error
    torch.set_num_threads(cores)
    return torch


def torch_kernel(
    torch: Any, params: Any, x: jax.Array, arch: tuple[int, ...]
) -> Callable[[], np.ndarray]:
    """Returns the call that computes the kernel of a cell in PyTorch.

    Args:
        torch: the package.
        params: of the network of all cells.
        x: the images.
        arch: the cell.

    Returns:
        A function without arguments.
    """
    network = TorchCell(torch, params, batch_statistics(params, x, arch), arch)
    images = torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy())

    # Those that enter the LGA kernel, as in the other benchmarks.
    entering = {
        path: tensor
        for path, tensor in network.tensors.items()
        if path.endswith(("kernel", "scale")) and not path.startswith("classifier")
    }

    def summed(tensors: Tensors, image: Any) -> Any:
        return network({**network.tensors, **tensors}, image[None]).sum()

    gradients = torch.func.vmap(torch.func.grad(summed), in_dims=(None, 0))

    def kernel() -> np.ndarray:
        found = gradients(entering, images).values()
        flat = [each.reshape(len(images), -1) for each in found]
        return sum((each @ each.T for each in flat[1:]), start=flat[0] @ flat[0].T).numpy()

    return kernel


class TorchCell:
    """The network of one cell in PyTorch, with constant statistics.

    Args:
        torch: the package.
        params: of the network of all cells.
        statistics: mean and variance of each normalisation, by its path.
        arch: the cell.

    Attributes:
        tensors: the parameters that the cell uses.
    """

    def __init__(
        self, torch: Any, params: Any, statistics: Mapping[str, Any], arch: tuple[int, ...]
    ) -> None:
        self.torch, self.arch = torch, arch
        self.tensors: dict[str, Any] = {}
        self.cells = len(jax.tree.leaves(params["stage_1"])[0])
        self.statistics = {
            path: tuple(torch.tensor(np.asarray(each)).reshape(1, -1, 1, 1) for each in both)
            for path, both in statistics.items()
        }
        for name in ("stem_norm", "norm"):
            self._add(name, params[name])
        self._add("stem", params["stem"])
        self._add("classifier", params["classifier"])
        for at in (1, 2):
            for name, leaves in params[f"reduction_{at}"].items():
                self._add(f"reduction_{at}/{name}", leaves)
        for stage in (1, 2, 3):
            for index in range(self.cells):
                cell = jax.tree.map(lambda leaf, i=index: leaf[i], params[f"stage_{stage}"])
                for (to, source), op in zip(EDGES, arch, strict=True):
                    name = f"edge_{to}_from_{source}"
                    if OPS[op].startswith("nor_conv"):
                        kind = OPS[op].removeprefix("nor_")
                        path = f"stage_{stage}/{index}/{name}"
                        if path in statistics:
                            self._add(path, cell[name][kind])

    def _add(self, path: str, leaves: Mapping[str, Any]) -> None:
        for name, leaf in leaves.items():
            array = np.asarray(leaf)
            axes = (3, 2, 0, 1) if array.ndim == 4 else tuple(range(array.ndim))
            self.tensors[f"{path}/{name}"] = self.torch.tensor(array.transpose(axes).copy())

    def __call__(self, p: Tensors, x: Any) -> Any:
        """Returns the logits of images (n, c, h, w)."""
        relu = self.torch.relu
        x = self._scaled(p, "stem_norm", self._conv(p, "stem", x))
        for stage in (1, 2, 3):
            if stage > 1:
                x = self._reduction(p, f"reduction_{stage - 1}", x)
            for index in range(self.cells):
                x = self._cell(p, f"stage_{stage}/{index}", x)
        x = relu(self._scaled(p, "norm", x)).mean(dim=(2, 3))
        return x @ p["classifier/kernel"] + p["classifier/bias"]

    def _conv(self, p: Tensors, path: str, x: Any, stride: int = 1) -> Any:
        kernel = p[f"{path}/kernel"]
        conv = self.torch.nn.functional.conv2d
        return conv(x, kernel, p.get(f"{path}/bias"), stride, kernel.shape[-1] // 2)

    def _normal(self, path: str, x: Any) -> Any:
        mean, var = self.statistics[path]
        return (x - mean) * self.torch.rsqrt(var + BATCH_NORM_EPSILON)

    def _scaled(self, p: Tensors, path: str, x: Any) -> Any:
        scale, bias = (p[f"{path}/{name}"].reshape(1, -1, 1, 1) for name in ("scale", "bias"))
        return self._normal(path, x) * scale + bias

    def _reduction(self, p: Tensors, path: str, x: Any) -> Any:
        relu, pool = self.torch.relu, self.torch.nn.functional.avg_pool2d
        out = self._scaled(p, f"{path}/norm_a", self._conv(p, f"{path}/conv_a", relu(x), 2))
        out = self._scaled(p, f"{path}/norm_b", self._conv(p, f"{path}/conv_b", relu(out)))
        return out + self._conv(p, f"{path}/shortcut", pool(x, 2))

    def _cell(self, p: Tensors, path: str, x: Any) -> Any:
        nodes = [x, None, None, None]
        for (to, source), op in zip(EDGES, self.arch, strict=True):
            name = f"{path}/edge_{to}_from_{source}"
            out = self._operation(p, name, nodes[source], OPS[op])
            if out is not None:
                nodes[to] = out if nodes[to] is None else nodes[to] + out
        return self.torch.zeros_like(x) if nodes[3] is None else nodes[3]

    def _operation(self, p: Tensors, path: str, x: Any, op: str) -> Any:
        if op == "none" or x is None:
            return None
        if op == "skip_connect":
            return x
        if op == "avg_pool_3x3":
            pool = self.torch.nn.functional.avg_pool2d
            return pool(x, 3, 1, 1, count_include_pad=False)
        return self._normal(path, self._conv(p, path, self.torch.relu(x)))


def result_table(rows: list[dict[str, Any]]) -> Table:
    """Returns the times as a table.

    Args:
        rows: by cell.

    Returns:
        The table.
    """
    table = Table("cell", "gram (s)", "torch (s)", "gram / torch", "relative error")
    for row in rows:
        ours, theirs = row["seconds"]["gram"], row["seconds"]["torch"]
        table.add_row(
            row["cell"],
            f"{ours:.3f}",
            f"{theirs:.3f}",
            f"{ours / theirs:.2f}",
            f"{row['relative_error']:.0e}" if row["connected"] else "no path",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
