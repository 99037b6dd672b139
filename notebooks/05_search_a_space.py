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
# # Search a space
#
# A search is three pure functions, `init`, `ask` and `tell`. The same search runs a thousand
# times at once on a table, and once around a kernel that takes a while. The ground truth,
# Digits-201, comes with the package.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jaxntk.data.batches import make_batch, standardize
from jaxntk.data.digits201 import load_digits201
from jaxntk.data.images import load_images
from jaxntk.kernels.program import compile_kernel
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics import METRICS
from jaxntk.networks.nasbench201 import NasBench201
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.search import SearchSpace, code_of, random_search, regularised_evolution, run_searches
from jaxntk.spaces import nasbench201

# %% [markdown]
# ## 500 searches at once
#
# A search sees validation accuracies; what counts is the test accuracy of its choice, the best
# that it saw. Architectures are vectors of integers, and `code_of` numbers them.

# %%
space = SearchSpace((len(nasbench201.OPS),) * nasbench201.NUM_EDGES)
cells = nasbench201.enumerate_space()
order = np.argsort(np.asarray(code_of(jnp.asarray(cells), space.sizes)))
table = load_digits201()
valid, test = (table.accuracy(cells, split)[order] for split in ("valid", "test"))
seen = jnp.asarray(valid, jnp.float32)
searches = {
    "random search": random_search(space),
    "regularised evolution": regularised_evolution(space, population=10, sample=3),
}
keys = jax.random.split(jax.random.key(0), 500)
figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, search in searches.items():
    objective = lambda archs: seen[code_of(archs, space.sizes)]  # noqa: E731
    codes = np.asarray(code_of(run_searches(search, objective, keys, 200).archs, space.sizes))
    best = np.maximum.accumulate(valid[codes], axis=1)
    ax.plot(np.arange(1, 201), best.mean(axis=0), label=name)
    chosen = np.take_along_axis(codes, valid[codes].argmax(axis=1)[:, None], axis=1)[:, 0]
    print(f"{name}: {test[chosen].mean():.2f} +- {test[chosen].std():.2f} % after 200 evaluations")
print(f"the best there is: {test.max():.2f} %")
ax.set(xlabel="evaluations", ylabel="best validation accuracy so far, %", xscale="log")
ax.legend()

# %% [markdown]
# ## One search, guided by a kernel
#
# The objective is now the centred alignment of a cell's kernel with the labels, at
# initialisation: no training, no table. The loop is a Python loop; `tell` takes NaN for a score
# that is invalid.

# %%
images, _ = standardize(load_images("digits201"))
batch = make_batch(images, 32, split="train", seed=0)
model = cell_model(NasBench201(10, channels=8, cells_per_stage=1))
kernel = compile_kernel(model, KernelSettings(batch_norm="frozen"), batch.x)
search = searches["regularised evolution"]
state = search.init(jax.random.key(1))
history = []
for _ in range(40):
    archs, state = search.ask(state)
    scores = [
        METRICS["lga_centred"](kernel(arch), batch.y).value for arch in np.asarray(archs, np.int32)
    ]
    scores = np.array([np.nan if score is None else score for score in scores], np.float32)
    state = search.tell(state, archs, jnp.asarray(scores))
    history += zip(np.asarray(archs), scores, strict=True)
valid_scores = [pair for pair in history if np.isfinite(pair[1])]
best, score = max(valid_scores, key=lambda pair: pair[1])
print(f"chosen after 40 kernels: {nasbench201.decode(best)}")
accuracy = table.accuracy(best[None], "test")[0]
print(f"its test accuracy: {accuracy:.2f} %, a random cell's: {test.mean():.2f} %")

# %% [markdown]
# ## What next
#
# `experiments/search_cells.py` runs several such searches in step, each function scored once,
# from kernels after any number of epochs, losses, accuracies or several goals; it resumes.
# `experiments/search_tables.py` compares searches on complete tables. `jaxntk train` trains the
# winner to its end.
