"""Estimates of memory against what the compiler reports, and what is made of them."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.errors import InputError
from jaxntk.kernels import memory
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.memory import (
    MemoryEstimate,
    PeakBytes,
    estimate_memory,
    largest_tile,
    peak_bytes,
)
from jaxntk.kernels.program import layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.nasbench201_model import cell_model
from tests.networks import tiny

WITHIN = 0.3


class Mlp(nn.Module):
    @nn.compact
    def __call__(self, x):
        for _ in range(3):
            x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(4)(x)


class SmallVit(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(32)(x)
        for _ in range(2):
            inner = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(2)(inner)
            inner = nn.LayerNorm()(x)
            x = x + nn.Dense(32)(nn.gelu(nn.Dense(128)(inner)))
        return nn.Dense(4)(nn.LayerNorm()(x).mean(axis=1))


def shaped(*shape):
    return jax.ShapeDtypeStruct(shape, "float32")


def loss_gradient(model, x):
    def gradient(params, x):
        return jax.grad(lambda params: jnp.square(model.apply(params, x)).sum())(params)

    return gradient, jax.eval_shape(model.init, jax.random.key(0), x), x


def jacobian_rows(model, x):
    def rows(params, x):
        def logit_sum(params, one):
            return model.apply(params, one[None]).sum()

        return jax.vmap(jax.grad(logit_sum), (None, 0))(params, x)

    return rows, jax.eval_shape(model.init, jax.random.key(0), x), x


def gram(model, x, tile=None):
    def kernel(params, x):
        return empirical_ntk(model.apply, params, x, outputs="sum", method="gram", tile=tile)

    return kernel, jax.eval_shape(model.init, jax.random.key(0), x), x


def nasbench201(count, **settings):
    net = tiny.network(channels=4)
    kernels = layer_kernel_fn(
        cell_model(net), KernelSettings(batch_norm="frozen", **settings), (16, 16, 3)
    )
    variables = jax.eval_shape(lambda: tiny.variables(net, (16, 16, 3), jnp.float32))
    arch = jax.ShapeDtypeStruct((6,), "int32")

    def kernel(variables, x, arch):
        return total(kernels(variables, x, arch))

    return kernel, variables, shaped(count, 16, 16, 3), arch


CASES = {
    "mlp, gradient of a loss": lambda: loss_gradient(Mlp(), shaped(2000, 100)),
    "mlp, per-example gradients": lambda: jacobian_rows(Mlp(), shaped(50, 100)),
    "mlp, gram": lambda: gram(Mlp(), shaped(200, 100)),
    "vit, gradient of a loss": lambda: loss_gradient(SmallVit(), shaped(40, 50, 48)),
    "vit, per-example gradients": lambda: jacobian_rows(SmallVit(), shaped(40, 50, 48)),
    "vit, gram": lambda: gram(SmallVit(), shaped(40, 50, 48)),
    "nasbench201, gram": lambda: nasbench201(24),
    "nasbench201, gram in tiles": lambda: nasbench201(24, tile=10),
}
SLOW = ("nasbench201, gram", "nasbench201, gram in tiles")


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in CASES]
)
def test_the_estimate_is_near_what_the_compiler_reports(name):
    fn, *args = CASES[name]()
    estimate = peak_bytes(fn, *args)
    sizes = jax.jit(fn).lower(*args).compile().memory_analysis()
    reported = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    # A table of several outputs takes a few bytes itself.
    assert 0 <= sizes.output_size_in_bytes - estimate.outputs < 2**10
    # The compiler is not given what the function does not use.
    assert 0.95 * estimate.arguments <= sizes.argument_size_in_bytes <= estimate.arguments
    assert abs(estimate.total / reported - 1) <= WITHIN, (estimate, reported)


@pytest.mark.parametrize("name", [name for name in CASES if name not in SLOW])
def test_an_accelerator_takes_hardly_more_than_the_cpu(name):
    case = CASES[name]()
    assert peak_bytes(*case, on_cpu=False).total <= 1.1 * peak_bytes(*case).total


def small_vit_gram(count, tile=None):
    return gram(SmallVit(), shaped(count, 20, 48), tile=tile)


def test_memory_grows_with_the_images():
    few, many = (peak_bytes(*small_vit_gram(count)).temporaries for count in (20, 40))
    assert 1.7 * few < many < 2.5 * few


def test_a_smaller_tile_takes_less():
    whole, half, quarter = (
        peak_bytes(*small_vit_gram(40, tile)).temporaries for tile in (None, 10, 5)
    )
    assert quarter < half < whole


def test_a_compiled_function_is_traced_once_for_the_estimate_and_the_call():
    traces = []

    @jax.jit
    def double(x):
        traces.append(x.shape)
        return 2 * x

    x = jnp.ones(7, jnp.float32)
    assert peak_bytes(double, x).total == 2 * 28
    double(x)
    assert traces == [(7,)]


def test_arrays_that_a_function_closes_over_count_as_arguments():
    weights = jnp.ones((100, 100), jnp.float32)

    def product(x):
        return x @ weights

    expected = PeakBytes(2 * 40_000, 40_000, 100 * 64 * 4, "dot_general/packing")
    for fn in (product, jax.jit(product), lambda x: jax.jit(jax.jit(product))(x)):
        assert peak_bytes(fn, shaped(100, 100)) == expected


def test_real_arrays_and_shapes_give_the_same():
    x = jnp.ones((30, 40), jnp.float32)
    assert peak_bytes(lambda x: x @ x.T, x) == peak_bytes(lambda x: x @ x.T, shaped(30, 40))


@pytest.mark.parametrize(("platform", "limit"), [("gpu", 1000), ("tpu", None)])
def test_the_share_is_of_what_the_device_says(platform, limit):
    stats = None if limit is None else {"bytes_limit": limit + 1, "bytes_in_use": 1}
    device = SimpleNamespace(platform=platform, device_kind="big one", memory_stats=lambda: stats)
    estimate = estimate_memory(lambda x: x + 1, shaped(25), device=device)
    assert estimate.peak.total == 200
    assert estimate.available == limit
    assert estimate.share == (None if limit is None else 0.2)
    assert ("20.00% of" in str(estimate)) == (limit is not None)


def test_the_share_of_the_host_is_of_what_is_available(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:       3 kB\n", "utf-8")
    monkeypatch.setattr(memory, "MEMINFO", meminfo)
    assert memory.host_memory() == 3 * 1024
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "absent")
    everything = memory.host_memory()
    assert everything is None or everything > 2**20
    monkeypatch.delattr(memory.os, "sysconf")
    assert memory.host_memory() is None


@pytest.mark.parametrize(("limit", "available"), [("max", 3072), ("2000", 1900), ("9000", 3072)])
def test_a_container_has_no_more_than_it_may(tmp_path, monkeypatch, limit, available):
    (tmp_path / "meminfo").write_text("MemAvailable:       3 kB\n", "utf-8")
    (tmp_path / "memory.max").write_text(f"{limit}\n", "utf-8")
    (tmp_path / "memory.current").write_text("100\n", "utf-8")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.host_memory() == available


def test_an_estimate_reads_as_one_line():
    estimate = MemoryEstimate(PeakBytes(2**20, 2**21, 2**30, "scan/mul"), "cpu", 2**32)
    assert str(estimate) == (
        "about 1 GiB (1 MiB arguments, 2 MiB outputs, 1 GiB in between, most in scan/mul): "
        "25.07% of 4 GiB free on cpu"
    )


@given(n=st.integers(1, 3000), budget=st.integers(1, 3000), fixed=st.integers(0, 50))
def test_the_tile_is_the_largest_that_fits(n, budget, fixed):
    asked = []

    def needs(tile):
        asked.append(tile)
        return fixed + tile

    if fixed + 1 > budget:
        with pytest.raises(InputError, match=r"budget: got .* a tile of one image needs"):
            largest_tile(needs, n, budget)
        return
    tile = largest_tile(needs, n, budget)
    assert 1 <= tile <= n
    assert fixed + tile <= budget
    assert len(asked) <= 2 + np.log2(2 * np.sqrt(n) + 1)
    count = -(-n // tile)
    # One tile less would make them too large, and the last one is not nearly empty.
    assert count == 1 or fixed + -(-n // (count - 1)) > budget
    assert count * tile - n < count


def test_a_tile_of_no_images_is_refused():
    with pytest.raises(InputError, match="n: got 0; give at least one image"):
        largest_tile(lambda tile: tile, 0, 10)
