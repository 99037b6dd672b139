"""Fourier features, bands, and the kernels that are made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.fourier import (
    FourierMap,
    ViNTK,
    bands,
    combine,
    fourier_features,
    fourier_images,
    frequencies,
)

PATCH = (4, 4)
X = np.random.default_rng(0).normal(size=(5, 8, 8, 3))
MAPS = ("pixel_values", "patch_content", "coordinates", "bands")


def seen(where, sigma=1.0, num=3, key=0, x=X):
    how = FourierMap(where=where, sigma=sigma, num_features=num, num_bands=num)
    return np.asarray(fourier_images(jnp.asarray(x), jax.random.key(key), how, PATCH))


def test_features_are_those_of_the_formula():
    """A plain loop over examples and frequencies, in float64."""
    rng = np.random.default_rng(0)
    v, b = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    got = np.asarray(fourier_features(jnp.asarray(v), jnp.asarray(b)))
    for row, vector in zip(got, v, strict=True):
        phases = [2 * np.pi * float(np.dot(each, vector)) for each in b]
        wanted = [np.cos(phase) for phase in phases] + [np.sin(phase) for phase in phases]
        np.testing.assert_allclose(row, wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("where", "shape"),
    [
        ("pixel_values", (1, 5, 8, 8, 6)),
        ("patch_content", (1, 5, 2, 2, 6)),
        ("coordinates", (1, 5, 8, 8, 9)),
        ("bands", (3, 5, 8, 8, 3)),
    ],
)
def test_where_features_act(where, shape):
    assert seen(where).shape == shape


def test_each_map_reads_what_it_says():
    """One image changed in one pixel changes that pixel, its patch, or nothing but itself."""
    other = X.copy()
    other[0, 5, 2, 0] += 1.0
    pixels, patches, places = (seen(w, x=other) != seen(w) for w in MAPS[:3])
    assert set(map(tuple, np.argwhere(pixels)[:, 1:4])) == {(0, 5, 2)}
    assert set(map(tuple, np.argwhere(patches)[:, 1:4])) == {(0, 1, 0)}
    assert list(map(tuple, np.argwhere(places)[:, 1:])) == [(0, 5, 2, 0)]


def test_a_key_means_one_map_whatever_the_precision():
    for where in MAPS:
        np.testing.assert_array_equal(seen(where), seen(where))
    assert not np.allclose(seen("pixel_values"), seen("pixel_values", key=1))
    drawn = frequencies(jax.random.key(0), 1000, 3, 2.0)
    assert drawn.dtype == np.float32
    assert abs(float(drawn.std()) - 2.0) < 0.1
    with jax.enable_x64(False):
        single = frequencies(jax.random.key(0), 1000, 3, 2.0)
    np.testing.assert_array_equal(drawn, single)


def test_bands_add_up_and_hold_their_own_frequencies():
    x = np.random.default_rng(0).normal(size=(2, 8, 12, 2))
    for num in (1, 2, 3, 5):
        parts = np.asarray(bands(jnp.asarray(x), num))
        np.testing.assert_allclose(parts.sum(axis=0), x, atol=1e-12)
        for band, part in enumerate(parts):
            spectrum = np.abs(np.fft.fft2(part, axes=(1, 2))).sum(axis=(0, 3))
            rows, columns = np.nonzero(spectrum > 1e-9)
            radius = np.hypot(np.fft.fftfreq(8)[rows], np.fft.fftfreq(12)[columns])
            assert (radius >= band / num / 2 - 1e-12).all(), (num, band, radius)
            assert band == num - 1 or (radius < (band + 1) / num / 2).all(), (num, band, radius)


def linear_kernel(features):
    """The kernel of a linear model of all features, by Gram-free differentiation."""
    flat = jnp.asarray(features).reshape(len(features), -1)

    def model(weights, x):
        return x @ weights

    weights = jnp.zeros((flat.shape[1], 2), flat.dtype)
    method = "per_example_gradients"
    return np.asarray(empirical_ntk(model, weights, flat, outputs="trace", method=method))


def test_a_linear_model_of_features_has_the_cosine_kernel():
    """For a linear model of gamma(v): K(v, w) = C sum_k cos(2 pi b_k (v - w))."""
    rng = np.random.default_rng(0)
    v, b = rng.normal(size=(6, 2)), rng.normal(size=(40, 2))
    kernel = linear_kernel(fourier_features(jnp.asarray(v), jnp.asarray(b)))
    phases = 2 * np.pi * (v[:, None] - v[None]) @ b.T
    np.testing.assert_allclose(kernel, 2 * np.cos(phases).sum(axis=-1), rtol=1e-10, atol=1e-10)


def test_many_features_give_a_gaussian_kernel():
    """E cos(2 pi b d) = exp(-2 pi^2 sigma^2 |d|^2), Bochner's theorem."""
    v = np.linspace(0, 1, 6)[:, None]
    num, sigma = 20_000, 0.3
    b = frequencies(jax.random.key(0), num, 1, sigma)
    kernel = linear_kernel(fourier_features(jnp.asarray(v), b)) / (2 * num)
    wanted = np.exp(-2 * np.pi**2 * sigma**2 * (v - v.T) ** 2)
    # Six standard deviations of a mean of cosines.
    assert np.abs(kernel - wanted).max() < 6 / np.sqrt(2 * num), np.abs(kernel - wanted).max()


@pytest.mark.parametrize("where", MAPS[:3])
def test_without_frequencies_features_are_constant(where):
    """sigma = 0: cosines are 1, sines 0, and a kernel of features alone tells nothing apart."""
    out = seen(where, sigma=0.0)
    features = out[..., 3:] if where == "coordinates" else out
    half = features.shape[-1] // 2
    np.testing.assert_array_equal(features[..., :half], np.ones_like(features[..., :half]))
    np.testing.assert_array_equal(features[..., half:], np.zeros_like(features[..., half:]))


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 100),
    st.sampled_from(["sum", "product", "fourier_only"]),
    st.tuples(st.integers(0, 3), st.integers(1, 3)),
)
def test_combinations_of_kernels_are_kernels(seed, how, weights):
    rng = np.random.default_rng(seed)
    plain, other = (a @ a.T for a in rng.normal(size=(2, 5, 3)))
    given = (1.0, 1.0) if how == "fourier_only" else (float(weights[0]), float(weights[1]))
    vintk = ViNTK(map=FourierMap(where="bands"), combine=how, weights=given)
    kernel = combine(plain, other, vintk)
    smallest = np.linalg.eigvalsh(kernel)[0]
    assert smallest > -1e-9 * np.abs(kernel).max(), (smallest, how, weights)
    for i, j in ((0, 0), (1, 4)):
        a, b = plain[i, j], other[i, j]
        u, w = weights
        wanted = {"sum": u * a + w * b, "product": a**u * b**w, "fourier_only": b}[how]
        assert kernel[i, j] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "pixel_values:sigma=0.5:features=8/sum",
        "patch_content:sigma=1:features=16/fourier_only",
        "bands:num=3/product:2,1",
        "pixel_values:sigma=0.12345678:features=8/sum:1,0.1234567",
    ],
)
def test_names_go_both_ways(text):
    assert str(ViNTK.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pixel_value/sum", "where: got 'pixel_value'"),
        ("pixel_values", "vintk: got pixel_values; give a map and a combination"),
        ("pixel_values/sums", "combine: got 'sums'"),
        ("pixel_values:sigma=x/sum", "sigma: got 'x' in"),
        ("pixel_values:sigma=-1/sum", "sigma: got -1.0"),
        ("pixel_values:features=0/sum", "num_features: got 0"),
        ("bands:sigma=1/sum", "setting of bands: got 'sigma'"),
        ("bands:num=0/sum", "num_bands: got 0"),
        ("bands/sum:1", "vintk: got bands/sum:1;"),
        ("bands/sum:0,0", "weights: got"),
        ("bands/sum:a,b", "vintk: got"),
        ("pixel_values:sigma=1:sigma=2/sum", "sigma: got"),
        ("bands/fourier_only:2,1", "weights: got"),
    ],
)
def test_bad_names_are_refused(text, words):
    with pytest.raises(InputError) as error:
        ViNTK.parse(text)
    assert words in str(error.value), str(error.value)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 3.0), (-1.0, 1.0), (np.nan, 1.0)])
def test_weights_are_two_numbers(weights):
    with pytest.raises((InputError, TypeCheckError)):
        ViNTK(map=FourierMap(where="bands"), combine="sum", weights=weights)


@pytest.mark.parametrize(("side", "num"), [(8, 0), (8, 9), (32, 40)])
def test_empty_rings_are_refused(side, num):
    with pytest.raises(InputError, match=f"num_bands: got {num}"):
        bands(jnp.zeros((1, side, side, 1)), num)


@pytest.mark.parametrize(("side", "num"), [(28, 7), (35, 5), (70, 5), (24, 3)])
def test_a_boundary_belongs_to_the_ring_above(side, num):
    """A wave along an axis whose frequency is exactly a boundary."""
    for ring in range(1, num):
        cycles = ring * side / num / 2
        if cycles == int(cycles):
            wave = np.cos(2 * np.pi * cycles * np.arange(side) / side)
            x = jnp.asarray(np.broadcast_to(wave.reshape(1, 1, side, 1), (1, side, side, 1)))
            energies = (bands(x, num) ** 2).sum(axis=(1, 2, 3, 4))
            assert int(jnp.argmax(energies)) == ring, (side, num, ring)


def test_a_root_of_a_negative_entry_is_refused():
    how = ViNTK.parse("bands/product:0.5,1")
    kernel = np.array([[1.0, -0.5], [-0.5, 1.0]])
    with pytest.raises(InputError, match=r"weights: got \[0.5, 1.0\]"):
        combine(kernel, kernel, how)
