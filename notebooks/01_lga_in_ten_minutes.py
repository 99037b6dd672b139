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
# # LGA in ten minutes
#
# *Label-gradient alignment* (LGA; Mok et al., CVPR 2022, arXiv 2203.14577) asks of a network: do
# images of the same class pull its weights in the same direction? It is one number, read off the
# network's neural tangent kernel. This notebook computes it for NAS-Bench-201 cells on handwritten
# digits, on a laptop CPU.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from jaxntk.data.batches import make_batch, standardize
from jaxntk.data.images import load_images
from jaxntk.kernels.program import compile_kernel, layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics import METRICS, evaluate
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.spaces import nasbench201

# %% [markdown]
# ## Images
#
# A kernel is taken on a small, class-balanced batch. Pixels are standardised with mean and standard
# deviation of the training images.

# %%
digits, standardization = standardize(load_images("digits"))
batch = make_batch(digits, 60, seed=0)
print(digits.name, batch.x.shape, "images a class:", np.bincount(batch.y))

# %% [markdown]
# ## An architecture is data
#
# A cell of NAS-Bench-201 is six integers. The network takes them as an input, so that all 15,625
# cells share one compilation.

# %%
cells = nasbench201.sample(jax.random.key(0), 12)
for cell in cells[:3]:
    print(nasbench201.format_ops(cell), nasbench201.decode(cell))

model = cell_model(NasBench201(num_classes=10, channels=8, cells_per_stage=1))
kernel = compile_kernel(model, KernelSettings(batch_norm="frozen"), batch.x)
print(f"compiled once, in {kernel.compile_seconds:.0f} s")

# %% [markdown]
# ## A kernel, and LGA by hand
#
# `K[i, j]` is the inner product of the gradients of the summed logits of images i and j with
# respect to the weights. `L[i, j]` is +1 where i and j have the same label and -1 elsewhere. LGA is
# the Pearson correlation of the entries of K and L.

# %%
gram_NxN = kernel(cells[0])
labels_NxN = np.where(batch.y[:, None] == batch.y[None, :], 1.0, -1.0)
by_hand = np.corrcoef(gram_NxN.ravel().astype(np.float64), labels_NxN.ravel())[0, 1]
lga = evaluate(gram_NxN, batch.y)["lga"]
print(f"by hand {by_hand:.6f}, jaxntk {lga.value:.6f} ({lga.status})")
np.testing.assert_allclose(by_hand, lga.value, rtol=1e-9)

# %%
order = np.argsort(batch.y, kind="stable")
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for ax, matrix, title in zip(
    axes, (gram_NxN, labels_NxN), ("kernel K, sorted by class", "labels L"), strict=True
):
    ax.imshow(matrix[np.ix_(order, order)], cmap="viridis")
    ax.set(title=title, xlabel="image", ylabel="image")

# %% [markdown]
# ## Every layer has a kernel of its own
#
# The kernel of the network is a sum over its parameters, and one backward pass gives all terms.

# %%
per_layer = layer_kernel_fn(model, KernelSettings(batch_norm="frozen"), batch.x.shape[1:])
parts = jax.jit(per_layer)(kernel.variables(0), kernel.x, cells[0])
shares = {
    "/".join(path): float(np.trace(np.sum(part, axis=tuple(range(part.ndim - 2)))))
    for path, part in parts.items()
}
whole = sum(shares.values())
for name, share in sorted(shares.items(), key=lambda item: -item[1])[:5]:
    print(f"{name:40} {100 * share / whole:5.1f} % of the trace")
np.testing.assert_allclose(whole, np.trace(gram_NxN), rtol=1e-4)

# %% [markdown]
# ## Scores carry their validity
#
# The cell whose edges are all `none` has no gradient: its kernel is zero and no metric is defined.
# It gets no number, and it ranks last under every metric.

# %%
nothing = evaluate(kernel(np.zeros(6, np.int32)), batch.y)
print({name: str(score.status) for name, score in nothing.items()})
assert not any(score.valid for score in nothing.values())

# %% [markdown]
# ## The mode of batch normalisation is part of the score
#
# With batch statistics *frozen* the images of a batch do not influence each other's gradients, and
# one backward pass suffices. The *batch* mode differentiates through the statistics; it is exact
# for a network in training mode, and takes a backward pass an image. The two need not rank cells
# alike.

# %%
few = make_batch(digits, 20, seed=0)
lga_of = {}
for mode in ("frozen", "batch"):
    in_mode = compile_kernel(model, KernelSettings(batch_norm=mode), few.x)
    lga_of[mode] = [evaluate(in_mode(cell), few.y)["lga"].value for cell in cells]
rho = stats.spearmanr(lga_of["frozen"], lga_of["batch"]).statistic
print(f"Spearman correlation of LGA between the two modes, {len(cells)} cells: {rho:.2f}")

# %% [markdown]
# ## A ranking
#
# `evaluate` gives all metrics; each knows which way is better.

# %%
scores = [evaluate(kernel(cell), batch.y) for cell in cells]
for name in ("lga", "condition_number"):
    sign = -1 if METRICS[name].higher_is_better else 1
    valid = [index for index, row in enumerate(scores) if row[name].valid]
    best = min(valid, key=lambda index: sign * scores[index][name].value)
    print(f"best by {name}: {nasbench201.decode(cells[best])}")

# %% [markdown]
# Whether such a ranking means anything is decided against a ground truth: `make demo` trains every
# cell and prints the rank correlation of each metric with an interval, beside the number of
# parameters, which is the baseline to beat.
