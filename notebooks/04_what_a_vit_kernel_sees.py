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
# # What the kernel of a vision transformer sees
#
# Zhou and Zhu (ICASSP 2024, arXiv 2405.04536) report that the NTK of a vision transformer
# reflects how low-frequency signals are learned and no others, and bring Fourier features of the
# input into the kernel: ViNTK. The formula of theirs is not known here; this package has
# reconstructions of the idea, each with a name that says what it is (docs/vintk.md).
#
# Here is how visible each spatial frequency of an image is to a kernel, on a small transformer.
# **It does not test what they report.** The literature's spectral bias (Rahaman et al. 2019, Basri
# et al. 2019) is about the function that is learned, about how fast it varies from input to
# input; frequency belongs to the function there, and to the image here. The study that measures
# it is still to be done.

# %%
import matplotlib.pyplot as plt
import numpy as np

from jaxntk.data.batches import make_batch, standardize
from jaxntk.data.images import load_images
from jaxntk.data.plane_waves import plane_waves
from jaxntk.kernels.fourier import ViNTK, vintk_kernel
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.settings import KernelSettings
from jaxntk.metrics import METRICS
from jaxntk.metrics.frequency import frequency_response
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.vit import transformer_model
from jaxntk.spaces import autoformer
from jaxntk.spaces.autoformer import Choices

SPACE = Choices((8, 16, 32), (1, 2, 3), heads=(1, 4), mlp_ratios=(1.0, 4.0), head_dim=None)

# %% [markdown]
# ## Waves of known frequency
#
# Images that hold one spatial frequency each, all of the same energy. Four are shown.

# %%
waves = plane_waves(16, (1, 2, 3, 4, 5, 6, 7), orientations=2, phases=4, channels=1)
figure, axes = plt.subplots(1, 4, figsize=(8, 2.2), layout="constrained")
for ax, frequency in zip(axes, (1, 3, 5, 7), strict=True):
    first = np.flatnonzero(waves.frequency == frequency)[0]
    ax.imshow(waves.x[first, :, :, 0], cmap="gray")
    ax.set(title=f"{frequency} cycles", xticks=[], yticks=[])

# %% [markdown]
# ## A transformer, its NTK, and two ViNTKs
#
# One compiled program serves all architectures of the space. `kernels(...)` returns the kernel of
# what the network sees: the images, or Fourier features of them.

# %%
model = transformer_model(AutoFormer(SPACE, num_classes=10, patch_size=2))
kernels = ModelKernels(model, KernelSettings(parameters="all"), waves.x)
arch = autoformer.from_string("32:4x4,4x4", SPACE)
names = ("pixel_values:sigma=0.1/fourier_only", "pixel_values:sigma=1/sum")
grams = {"NTK": kernels(arch)}
for name in names:
    grams[name] = vintk_kernel(lambda part: kernels(arch, part), ViNTK.parse(name))
print(kernels.compilations, "programs for", len(grams), "kernels")

# %% [markdown]
# ## How much of the kernel moves with the wave
#
# The power at a frequency is what the kernel sees of a shift of such a wave. To a linear model of
# the pixels all frequencies are alike; where high ones are invisible the power falls off. The
# number for it is the power at the upper half of the frequencies over that at the lower half.

# %%
flat = waves.x.reshape(len(waves.x), -1).astype(np.float64)
grams = {"linear model": flat @ flat.T / flat.shape[1]} | grams
figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, gram in grams.items():
    found = frequency_response(gram, waves.frequency, waves.wave)
    ax.plot(found.frequencies, found.power / found.power[:3].mean(), "o-", label=name)
    print(f"{name}: {found.high_over_low:.3f}")
ax.set(xlabel="cycles an image", ylabel="power, over the lowest three", yscale="log")
ax.legend(fontsize=8)

# %% [markdown]
# ## Does it know the labels?
#
# On digits: how well the centred kernels align with the classes, before any training. A larger
# number is said to be better; whether it is, `experiments/vintk_vitbench101.py` asks of 150
# published networks and every ViNTK, with intervals.

# %%
batch = make_batch(standardize(load_images("digits"))[0], 40, split="train", seed=0)
seen = kernels.on(batch.x)
for text in ("8:1x1", "16:4x4,1x1", "32:4x4,4x4,4x4"):
    each = autoformer.from_string(text, SPACE)
    line = []
    for how in (None, ViNTK.parse(names[1])):
        gram = vintk_kernel(lambda part, each=each: seen(each, part), how)
        line.append(METRICS["lga_centred"](gram, batch.y).value)
    print(f"{text}: NTK {line[0]:.3f}, {names[1]} {line[1]:.3f}")

# %% [markdown]
# `experiments/frequency_bias.py` draws a whole page of the above with a convolutional network
# beside, on waves and on natural images. What was once concluded from it for or against the paper
# is withdrawn (docs/findings.md).
