"""What it costs to draw the weights of a network: as a whole, as Flax does, and leaf by leaf.

    python -m benchmarks.drawing_weights [--only tiny]

Every side is drawn in a process of its own, in which nothing was compiled before, and counts the
processor seconds, of all threads, of its first draw: tracing, compiling and running. The weights of
both sides are compared to the last bit, and the messages of XLA about slow compilation are counted.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxntk.networks import initializers
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_supernet import Supernet
from jaxntk.networks.pit import PiT, widest
from jaxntk.networks.vit import init_params, num_genes
from jaxntk.runs.rows import environment, write_json_atomic
from jaxntk.spaces import autoformer

SIDES = ("whole", "leaves")
SLOW = "slow compile"
FILE = Path("benchmarks/results/drawing_weights.json")
CASES = {
    "tiny": (NasBench201(3, 3, 2, BatchNormMode.FROZEN), (8, 8, 3)),
    "nasbench201": (NasBench201(10, 16, 5, BatchNormMode.FROZEN), (32, 32, 3)),
    "supernet": (Supernet(10, 16, 5, BatchNormMode.FROZEN), (32, 32, 3)),
    "autoformer": (AutoFormer(autoformer.TINY, 10, 4), (32, 32, 3)),
    "pit": (PiT(10, widest()), (32, 32, 3)),
}


def draw(case: str, side: str) -> dict[str, Any]:
    """Draws the weights of a network and discards them.

    Args:
        case: name of the network.
        side: ``whole`` or ``leaves``.

    Returns:
        Processor seconds of the first draw and of another, and a digest of the first weights.
    """
    network, image = CASES[case]
    cells = isinstance(network, NasBench201)
    arch = network.choice if cells else jax.ShapeDtypeStruct((num_genes(network),), jnp.int32)

    @jax.jit
    def whole(key: jax.Array) -> Any:
        return network.init(key, jnp.zeros((1, *image)), jnp.zeros(arch.shape, arch.dtype))

    def leaves(key: jax.Array) -> Any:
        if cells:
            return init_variables(network, key, image, jnp.dtype("float32"))
        return {"params": init_params(network, key, image, jnp.dtype("float32"))}

    if side == "whole":
        # Each leaf at its own shape, as Flax's initialisers draw it.
        initializers.draw_row = lambda draw, key, shape, *more: draw(key, tuple(shape), *more)
    drawn, seconds = [], []
    for key in jax.block_until_ready([jax.random.key(0), jax.random.key(1)]):
        start = time.process_time()
        drawn.append(jax.block_until_ready({"whole": whole, "leaves": leaves}[side](key)))
        seconds.append(time.process_time() - start)
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(drawn[0]):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return {"cpu_seconds": seconds[0], "again": seconds[1], "digest": digest.hexdigest()}


def measure(case: str) -> dict[str, Any]:
    """Draws a network on both sides, each in a new process.

    Args:
        case: name of the network.

    Returns:
        What :func:`draw` gives for each side, how often XLA complained, and the ratio of the times.

    Raises:
        subprocess.CalledProcessError: one side failed.
    """
    row: dict[str, Any] = {"case": case}
    for side in SIDES:
        command = [sys.executable, "-m", "benchmarks.drawing_weights", "--draw", case, side]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        complaints = ran.stderr.lower().count(SLOW)
        row[side] = json.loads(ran.stdout.splitlines()[-1]) | {"complaints": complaints}
    whole, leaves = (row[side] for side in SIDES)
    row["ratio"] = whole["cpu_seconds"] / leaves["cpu_seconds"]
    row["same_bits"] = whole["digest"] == leaves["digest"]
    return row


def main() -> int:
    """Measures, prints and writes the record.

    Returns:
        0, or 1 where the two sides differ or XLA complains of what is drawn leaf by leaf.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=CASES, help="one network, and no record")
    parser.add_argument("--draw", nargs=2, metavar=("CASE", "SIDE"), help="one draw, as JSON")
    options = parser.parse_args()
    if options.draw:
        sys.stdout.write(json.dumps(draw(*options.draw)) + "\n")
        return 0
    console, rows = Console(), []
    for case in [options.only] if options.only else CASES:
        row = measure(case)
        rows.append(row)
        whole, leaves = (row[side] for side in SIDES)
        console.print(
            f"{case}: {whole['cpu_seconds']:.1f} CPU s as a whole ({whole['complaints']} "
            f"complaints), {leaves['cpu_seconds']:.1f} leaf by leaf ({leaves['complaints']}), "
            f"{row['ratio']:.1f} times less; the same bits: {row['same_bits']}",
            highlight=False,
        )
    if not options.only:
        command = "python -m benchmarks.drawing_weights"
        write_json_atomic(FILE, {"command": command, "rows": rows, "environment": environment()})
    fine = (row["same_bits"] and not row["leaves"]["complaints"] for row in rows)
    return int(not all(fine))


if __name__ == "__main__":
    sys.exit(main())
