"""What a convolution costs inside a switch: Flax's own layer, and the one for search spaces.

    python -m benchmarks.switched_convolution

The gradient of a training loss of three convolutions (3x3, 16 channels, 32x32 images), each chosen
by ``nn.switch`` between two, with ``flax.linen.Conv`` and with :class:`jaxntk.networks.Conv`, and
without a switch, all in turns. The claim: on CPUs the second is at least 5 times as fast as the
first inside a switch.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.console import Console

from benchmarks.measure import compile_call, run_seconds, set_up, write_record
from jaxntk.errors import InputError
from jaxntk.networks import Conv

PROGRAM = "python -m benchmarks.switched_convolution"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the gradients."""

    n: int = 64
    """Images."""
    channels: int = 16
    """Of each convolution."""
    side: int = 32
    """Of the images."""
    repeats: int = 5
    """Of each."""
    cores: int = 2
    """Cores that this process may use."""
    device: str = "cpu"
    """Where to run."""
    out: Path = Path("benchmarks/results/switched_convolution.json")
    """JSON file to write."""


class Network(nn.Module):
    """Three convolutions one after another.

    Args:
        conv: the class of layers.
        channels: of each.
        switched: whether each is chosen by a switch between itself and a convolution of size 1.
    """

    conv: Callable[..., nn.Module]
    channels: int
    switched: bool

    @nn.compact
    def __call__(self, x: jax.Array, which: jax.Array) -> jax.Array:
        """Returns one number an image."""
        for at in range(3):
            layers = [self.conv(self.channels, (size, size)) for size in (3, 1)]
            if not self.switched:
                x = nn.relu(self._call(layers[0], x))
                continue
            if self.is_initializing():
                _ = [self._call(layer, x) for layer in layers]
            calls = [lambda _, x, layer=layer: nn.relu(layer(x)) for layer in layers]
            x = nn.switch(which[at], calls, self, x)
        return x.mean(axis=(1, 2, 3))

    @staticmethod
    def _call(layer: Any, x: jax.Array) -> jax.Array:
        return layer(x)


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
    times = run_seconds(gradients(options), options.repeats)
    best = {name: float(np.min(each)) for name, each in times.items()}
    ratio = best["flax.linen.Conv, switched"] / best["jaxntk.networks.Conv, switched"]
    summary = {"flax_over_ours_switched": ratio}
    write_record(options.out, PROGRAM, options, seconds=times, summary=summary)
    console = Console()
    for name, seconds in best.items():
        console.print(f"{name:34} {1e3 * seconds:9.1f} ms")
    console.print(f"inside a switch {ratio:.1f} times as fast")
    return 0


def gradients(options: Options) -> dict[str, Callable[[], Any]]:
    """Returns the gradients as calls, by name.

    Args:
        options: the options.

    Returns:
        Calls without arguments.
    """
    shape = (options.n, options.side, options.side, options.channels)
    x = jax.random.normal(jax.random.key(0), shape)
    which = jnp.zeros(3, jnp.int32)
    calls = {}
    for name, conv in (("flax.linen.Conv", nn.Conv), ("jaxntk.networks.Conv", Conv)):
        for switched in (True, False):
            network = Network(conv, options.channels, switched)
            params = network.init(jax.random.key(0), x[:1], which)

            def gradient(params: Any, x: jax.Array, which: jax.Array, net: Any = network) -> Any:
                grad = jax.grad(lambda p: jnp.sum(net.apply(p, x, which) ** 2))(params)
                return sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(grad))

            suffix = ", switched" if switched else ""
            calls[name + suffix] = compile_call(gradient, params, x, which).call
    return calls


if __name__ == "__main__":
    sys.exit(main())
