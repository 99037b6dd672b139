"""Writes a file of official numbers with the plain network, in the official names and layout."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.spaces.nasbench201 import EDGES, decode
from tests.networks import tiny

MODES = {"train": BatchNormMode.BATCH, "eval": BatchNormMode.RUNNING}


def official_names(params):
    """Returns the parameters under their official names, kernels as (out, in, height, width)."""
    weights = {
        "top.classifier.weight": np.asarray(params["classifier"]["kernel"]).T,
        "top.classifier.bias": np.asarray(params["classifier"]["bias"]),
    }
    kernels = {"stem.net.0": params["stem"]}
    norms = {"stem.net.1": params["stem_norm"], "top.lastact.0": params["norm"]}
    for index in (1, 2):
        block, name = params[f"reduction_{index}"], f"reduction{index}"
        kernels[f"{name}.residual.1"] = block["shortcut"]
        for letter in "ab":
            kernels[f"{name}.conv_{letter}.op.1"] = block[f"conv_{letter}"]
            norms[f"{name}.conv_{letter}.op.2"] = block[f"norm_{letter}"]
    for stage in (1, 2, 3):
        for edge, (to, source) in enumerate(EDGES):
            layers = params[f"stage_{stage}"][f"edge_{to}_from_{source}"]
            # The official order of options is none, skip, 3x3, 1x1, pooling.
            for option, layer in ((2, layers["conv_3x3"]), (3, layers["conv_1x1"])):
                for cell in range(len(layer["bias"])):
                    name = f"stack_cell{stage}.{cell}.options.{5 * edge + option}.op.1"
                    kernels[name] = {"kernel": layer["kernel"][cell]}
                    weights[f"{name}.bias"] = np.asarray(layer["bias"][cell])
    for name, layer in kernels.items():
        weights[f"{name}.weight"] = np.asarray(layer["kernel"]).transpose(3, 2, 0, 1)
    for name, layer in norms.items():
        weights[f"{name}.weight"] = np.asarray(layer["scale"])
        weights[f"{name}.bias"] = np.asarray(layer["bias"])
    return weights


def initial(variables):
    """Returns the variables with running statistics 0 and 1, as the official network starts."""
    stats = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, float(path[-1].key == "var"), leaf.dtype),
        variables["batch_stats"],
    )
    return {**variables, "batch_stats": stats}


def _enters(path):
    return path[0] != "classifier" and path[-1] != "bias"


def official_arrays(variables, x, y, archs):
    """Returns the arrays of a file of official numbers."""
    arrays = {"x": x, "y": y, "archs": np.array([decode(np.array(arch)) for arch in archs])}
    names = official_names(variables["params"])
    arrays |= {f"w/{name}": array for name, array in names.items()}
    sign = np.where(y[:, None] == y[None], 1.0, -1.0)
    for index, arch in enumerate(archs):
        for name, mode in MODES.items():
            logits = jax.jit(tiny.plain_network(mode, variables, x, arch))(variables["params"])
            jac = tiny.plain_jacobian(mode, variables, x, arch)
            kernel = tiny.explicit_kernel(jac, "sum", _enters)
            lga = np.corrcoef(kernel.ravel(), sign.ravel())[0, 1]
            values = [kernel.mean(), np.linalg.cond(kernel), np.linalg.norm(kernel), lga]
            arrays[f"{index}.{name}.logits"] = np.asarray(logits)
            arrays[f"{index}.{name}.kernel"] = kernel
            arrays[f"{index}.{name}.mean_cond_fnorm_lga"] = np.array(values)
    return arrays
