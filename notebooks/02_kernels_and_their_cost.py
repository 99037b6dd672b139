# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Kernels and their cost
#
# The *empirical neural tangent kernel* of a network pairs the gradients of its outputs:
# `K[i, j] = <df(x_i)/dtheta, df(x_j)/dtheta>`. There are several exact ways to compute it, and they
# differ by orders of magnitude in time and memory. This notebook shows the one function that has
# them all, how it chooses, and what it costs.

# %%
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxntk.data.batches import standardize
from jaxntk.data.images import load_images
from jaxntk.kernels import (
    NtkSettings,
    check_model,
    empirical_ntk,
    estimate_memory,
    plan_ntk,
)

# %% [markdown]
# ## Any function of parameters and inputs
#
# The kernel sees a function `apply_fn(params, x)`. Here it is an ordinary Flax network, with no
# layer of ours in it, on handwritten digits.


# %%
class Cnn(nn.Module):
    @nn.compact
    def __call__(self, x):
        for channels in (8, 16):
            x = nn.relu(nn.GroupNorm(4)(nn.Conv(channels, (3, 3), strides=2)(x)))
        return nn.Dense(10)(x.mean(axis=(1, 2)))


digits, _ = standardize(load_images("digits"))
x, y = jnp.asarray(digits.x_train[:60]), digits.y_train[:60]
model = Cnn()
params = model.init(jax.random.key(0), x)["params"]


def apply_fn(params, x):
    return model.apply({"params": params}, x)


gram_NxN = empirical_ntk(apply_fn, params, x, outputs="sum")
print(gram_NxN.shape, gram_NxN.dtype)

# %% [markdown]
# ## Which outputs
#
# There is no default: `sum` is what LGA and TE-NAS read, `trace` adds the kernels of the single
# outputs, `mean` is `trace / C` (what neural-tangents calls the trace), `class_balanced` leaves out
# the mean of the logits, which softmax does not see, and `full` keeps all pairs of outputs. They
# are different matrices, tied by `class_balanced = trace - sum / C`.

# %%
grams = {
    name: empirical_ntk(apply_fn, params, x, outputs=name)
    for name in ("trace", "sum", "class_balanced")
}
rest = grams["trace"] - grams["sum"] / 10 - grams["class_balanced"]
print("largest error of the identity:", float(jnp.abs(rest).max() / grams["trace"].max()))

order = np.argsort(y, kind="stable")
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for ax, (name, gram) in zip(axes, grams.items(), strict=True):
    ax.imshow(np.asarray(gram)[np.ix_(order, order)], cmap="viridis")
    ax.set_title(name, fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])
figure.suptitle("The kernel of 60 digits, sorted by class", fontsize=10)
plt.show()

# %% [markdown]
# ## What will be done
#
# The function is traced, and each parameter is followed through the program to where it meets data.
# There its kernel is read off on the way back: the kernel is the gradient with respect to a matrix
# of zeros beside each weight, from one forward and one backward pass. `plan_ntk` says how,
# beforehand: by forming the gradients of the examples (`materialised`), by inner products of
# activations and of cotangents (`factorised`), whichever is cheaper, or, where a parameter is used
# more than once, by adding its gradients up over the uses (`collected`). All of it is exact.

# %%
print(plan_ntk(apply_fn, params, x, NtkSettings("sum")))


class WithPositions(nn.Module):
    @nn.compact
    def __call__(self, x):
        positions = self.param("positions", nn.initializers.normal(0.1), (1, *x.shape[1:]))
        cnn = Cnn()
        return cnn(x + positions) - cnn(x - positions)


positioned = WithPositions()
more = positioned.init(jax.random.key(1), x)["params"]


def apply_positioned(params, x):
    return positioned.apply({"params": params}, x)


plan = plan_ntk(apply_positioned, more, x, NtkSettings("sum"))
print(plan)
print(f"{plan.share('collected'):.0%} of the parameters are collected")
slow = empirical_ntk(apply_positioned, more, x, outputs="sum", method="per_example_gradients")
fast = empirical_ntk(apply_positioned, more, x, outputs="sum")
np.testing.assert_allclose(fast, slow, rtol=1e-3, atol=1e-3 * float(slow.max()))

# %% [markdown]
# The first time that `empirical_ntk` meets a function it checks it: the kernel of three examples
# against their Jacobian, and whether examples interact. `check_model` does only that. Batch
# statistics make an image's output depend on the others; the message says what to do.


# %%
class Coupled(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=False)(nn.Conv(8, (3, 3))(x))
        return nn.Dense(10)(x.mean(axis=(1, 2)))


coupled = Coupled()
variables = coupled.init(jax.random.key(0), x)


def apply_coupled(params, x):
    out, _ = coupled.apply({**variables, "params": params}, x, mutable=["batch_stats"])
    return out


try:
    check_model(apply_coupled, variables["params"], x)
except ValueError as error:
    print(error)
exact = empirical_ntk(apply_coupled, variables["params"], x[:8], outputs="sum", examples="coupled")
print("the exact, dear kernel of a batch:", exact.shape)

# %% [markdown]
# ## What it costs
#
# The memory is estimated from shapes alone, before anything is compiled; a tile bounds it. Times
# are those of the machine that runs this notebook, the best of ten, and of a network so small that
# methods hardly differ; `benchmarks/zoo.py` compares them on larger ones.

# %%
methods = ("gram", "per_example_gradients")
cost = {}
for method in methods:
    for n in (15, 30, 60):

        def kernel(params, x, method=method):
            return empirical_ntk(apply_fn, params, x, outputs="sum", method=method)

        estimate = estimate_memory(kernel, params, x[:n])
        compiled = jax.jit(kernel).lower(params, x[:n]).compile()
        jax.block_until_ready(compiled(params, x[:n]))
        times = []
        for _ in range(10):
            start = time.perf_counter()
            jax.block_until_ready(compiled(params, x[:n]))
            times.append(time.perf_counter() - start)
        cost[method, n] = min(times)
        print(f"{method:22} n = {n:2}  {cost[method, n] * 1e3:6.1f} ms  {estimate}")

tiled = empirical_ntk(apply_fn, params, x, outputs="sum", tile=20)
np.testing.assert_allclose(tiled, gram_NxN, rtol=1e-3, atol=1e-3 * float(gram_NxN.max()))

# %% [markdown]
# ## One network, every cell
#
# For a search space that is one network with the architecture as an input, the kernel compiles once
# for all architectures; see `01_lga_in_ten_minutes` and `jaxntk.population.kernels`, which scores
# many at once by `map`, `vmap` or routing.
