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
# # Watch a kernel learn
#
# A kernel at initialisation knows nothing of the labels. The LGA paper (Mok et al., CVPR 2022,
# arXiv 2203.14577) therefore reads it after a few epochs of training. Here a dozen NAS-Bench-201
# cells are trained for five epochs and their kernels are watched, on images and accuracies that
# come with the package: Digits-201.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from jaxntk.data.batches import make_batch, standardize
from jaxntk.data.digits201 import load_digits201
from jaxntk.data.images import load_images
from jaxntk.kernels.program import compile_kernel
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics import METRICS, dynamics
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.spaces import nasbench201
from jaxntk.training.population import population_training, steps_of
from jaxntk.training.recipe import named_recipe

# %% [markdown]
# ## Cells, and how good they will be
#
# The table holds the accuracy of every one of the 15,625 cells after full training. Ten are drawn
# at random; a poor and a good one are added.

# %%
table = load_digits201()
drawn = nasbench201.sample(jax.random.key(1), 10)
cells = np.stack([nasbench201.parse_ops("403003"), nasbench201.parse_ops("230243"), *drawn])
accuracy = table.accuracy(cells, "test")
for cell, percent in list(zip(cells, accuracy, strict=True))[:2]:
    print(f"{nasbench201.format_ops(cell)}: {percent:.1f} % of test images in the end")

# %% [markdown]
# ## One compiled epoch for all of them
#
# An architecture is an input of the training step as it is of the network, so that all cells
# share one compilation. The recipe is the paper's, with batches and shifts of a size that fits
# the data.

# %%
images, _ = standardize(load_images("digits201"))
x, y = jnp.asarray(images.x_train), jnp.asarray(images.y_train)
recipe = named_recipe("lga", batch_size=64, augmentation="crop", pad=1)
model = cell_model(NasBench201(10, channels=8, cells_per_stage=1))
EPOCHS = 5
training = population_training(
    model, recipe, EPOCHS * steps_of(len(x), recipe), x.shape[1:], x.dtype
)

# %% [markdown]
# ## Kernels on the way
#
# The measuring batch: the first validation images, without augmentation. (The paper takes test
# images; here these make the ground truth.) After every epoch each cell gets a kernel.
#
# 64 images and frozen statistics keep this quick. The official code takes 256 images or more, and
# its statistics are never frozen. On few images LGA mostly reads how diagonal the kernel is: with
# ten classes a share 10/n of the pairs with equal labels are an image with itself.

# %%
batch = make_batch(images, 64, split="test", how="first", seed=0)
kernel = compile_kernel(model, KernelSettings(batch_norm="frozen"), batch.x)
archs = jnp.asarray(cells, jnp.int32)
states = training.init([0] * len(cells))
grams, losses = [], []
for epoch in range(EPOCHS + 1):
    of_cells = [jax.tree.map(lambda leaf, at=at: leaf[at], states.variables) for at in range(12)]
    grams.append([
        kernel.of(variables, cell) for variables, cell in zip(of_cells, cells, strict=True)
    ])
    if epoch < EPOCHS:
        states, row = training.epoch(states, archs, x, y)
        losses.append(np.asarray(row.loss))
print(f"mean loss: {losses[0].mean():.2f} in the first epoch, {losses[-1].mean():.2f} in the last")

# %% [markdown]
# ## What the good cell's kernel looks like
#
# Images are sorted by class: blocks along the diagonal are what alignment with the labels means.

# %%
order = np.argsort(batch.y, kind="stable")
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for ax, epoch in zip(axes, (0, 2, EPOCHS), strict=True):
    gram_NxN = grams[epoch][1][np.ix_(order, order)]
    ax.imshow(gram_NxN, vmin=0, vmax=np.percentile(gram_NxN, 99))
    ax.set(title=f"after {epoch} epochs", xlabel="image", ylabel="image")

# %% [markdown]
# ## How far it moves, and where to
#
# The cosine with the kernel of the start says how far it has gone; the velocity is the distance
# of two successive kernels. LGA and the share of the labels along the top ten eigenvectors say
# where it goes. (`experiments/kernel_dynamics.py` draws a whole page of this, layer by layer,
# with the linearised network beside.)

# %%
for name, cell in (("poor", 0), ("good", 1)):
    print(f"{name}: epoch  cosine  velocity     LGA  top ten")
    for epoch in range(EPOCHS + 1):
        start, now = grams[0][cell], grams[epoch][cell]
        speed = dynamics.velocity(grams[epoch - 1][cell], now, 1).value if epoch else np.nan
        lga = METRICS["lga"](now, batch.y).value
        top = dynamics.eigenvectors_on_labels(now, batch.y, 10).sum()
        print(
            f"{epoch:11}{dynamics.cosine(start, now).value:8.2f}{speed:10.3f}{lga:8.3f}{top:9.2f}"
        )

# %% [markdown]
# ## Does it rank better?
#
# Twelve cells are far too few to say, and so are 64 images; this shows how one asks. The number of
# parameters and the training losses cost nothing more, so that a kernel has to do better than they
# do.

# %%
for epoch in (0, 2, EPOCHS):
    lgas = [METRICS["lga"](gram, batch.y).value for gram in grams[epoch]]
    print(f"LGA after {epoch} epochs: tau {stats.kendalltau(lgas, accuracy).statistic:+.2f}")
tse = np.sum(losses, axis=0)
print(f"sum of the training losses: tau {stats.kendalltau(-tse, accuracy).statistic:+.2f}")
params = table.costs(cells).params
print(f"#params: tau {stats.kendalltau(params, accuracy).statistic:+.2f}")

# %% [markdown]
# `experiments/over_epochs.py` asks it of hundreds of cells, for all metrics and modes of
# batch normalisation, with intervals. Whether training makes LGA a better guide or a worse one is
# not settled here; an earlier answer, read on 64 images, is withdrawn (docs/findings.md).
