"""Small functions ``(params, x) -> outputs``, their inputs and their Jacobians written out."""

import jax
import jax.numpy as jnp
import numpy as np


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def dense(params, x):
    hidden = jnp.tanh(x @ params["hidden"] + params["bias"][None])
    return hidden @ params["readout"]


def convolution(params, x):
    out = jax.lax.conv_general_dilated(
        x, params, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.nn.gelu(out).sum(axis=1)


def tokens(params, x):
    return jnp.tanh(params[x]).mean(axis=1) @ jnp.arange(1.0, 4.0)


def dense_params(seed=0):
    shapes = {"hidden": (4, 30), "bias": (30,), "readout": (30, 2)}
    return {key: normal(seed + i, *shape) for i, (key, shape) in enumerate(shapes.items())}


# Function, parameters, inputs; the outputs are (n, 2), (n, 3, 2) and (n,).
FUNCTIONS = {
    "dense": (dense, dense_params, lambda n: normal(7, n, 4)),
    "convolution": (convolution, lambda: normal(1, 3, 3, 2, 2), lambda n: normal(7, n, 5, 5, 2)),
    "tokens": (tokens, lambda: normal(1, 6, 3), lambda n: jnp.arange(4 * n).reshape(n, 4) ** 2 % 6),
}


def case(name, n=7):
    function, params, inputs = FUNCTIONS[name]
    return function, params(), inputs(n)


def outputs(function, params, x):
    """Returns the outputs, (n, C)."""
    return np.asarray(function(params, x)).reshape(len(x), -1)


def jacobian(function, params, x):
    """Returns the Jacobian, (n, C, P)."""
    num_outputs = outputs(function, params, x).shape[1]
    leaves = jax.tree.leaves(jax.jit(jax.jacobian(function))(params, x))
    return np.concatenate([np.reshape(leaf, (len(x), num_outputs, -1)) for leaf in leaves], axis=-1)
