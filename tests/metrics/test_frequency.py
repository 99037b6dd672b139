"""What kernels see of each frequency, where the answer is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.special

from jaxntk.data.plane_waves import plane_waves
from jaxntk.errors import InputError
from jaxntk.kernels.fourier import FourierMap, fourier_images, frequencies
from jaxntk.metrics.frequency import frequency_response, learned_parts, phase_targets

FREQUENCIES = (1, 3, 5, 7)
WAVES = plane_waves(32, FREQUENCIES, orientations=1, phases=4, channels=1)
ROWS = WAVES.x.reshape(len(WAVES.x), -1).astype(np.float64)


def response(gram):
    return frequency_response(gram, WAVES.frequency, WAVES.wave)


def test_a_linear_model_sees_all_frequencies_alike():
    """K(x, x') = <x, x'>: waves of one frequency span a plane on which K is 2 n_k P / 2."""
    found = response(ROWS @ ROWS.T / 1024)
    np.testing.assert_allclose(found.power, 1, rtol=1e-5)
    np.testing.assert_allclose(found.visibility, 1, rtol=1e-5)
    np.testing.assert_allclose(found.top_energy, 1 / 4, rtol=1e-3)
    assert found.high_over_low == pytest.approx(1, rel=1e-5)


def test_a_linear_model_of_filtered_pixels_has_the_filter_squared():
    """K(x, x') = <Hx, Hx'> with a Gaussian blur H: the power is |h(k)|^2, the visibility 1."""
    k = np.fft.fftfreq(32) * 32
    blur = np.exp(-0.1 * (k[:, None] ** 2 + k[None] ** 2))
    filtered = np.fft.ifft2(np.fft.fft2(WAVES.x[..., 0]) * blur).real.reshape(len(ROWS), -1)
    found = response(filtered @ filtered.T / 1024)
    wanted = np.exp(-0.2 * np.array(FREQUENCIES) ** 2)
    np.testing.assert_allclose(found.power, wanted, rtol=1e-4)
    np.testing.assert_allclose(found.visibility, 1, rtol=1e-4)
    ratio = wanted[2:].mean() / wanted[:2].mean()
    assert found.high_over_low == pytest.approx(ratio, rel=1e-4)
    # Two of the first frequency and one of the second make up 90 % of the trace.
    np.testing.assert_allclose(found.top_energy, [2 / 3, 1 / 3, 0, 0], atol=1e-9)


def test_a_linear_model_of_fourier_features_has_a_bessel_function():
    """K(x, x') = sum_u sum_b cos(2 pi b (x_u - x'_u)), and x_u - x'_u runs over a sine of amplitude
    a = 2 sqrt(2) |sin(pi (phi - phi'))|, over which the mean of the cosine is J_0(2 pi b a)."""
    how = FourierMap(where="pixel_values", num_features=5, sigma=0.2)
    key = jax.random.key(0)
    seen = np.asarray(fourier_images(jnp.asarray(WAVES.x), key, how, (4, 4)))[0]
    features = seen.reshape(len(seen), -1).astype(np.float64)
    gram = features @ features.T / 1024
    b = np.asarray(frequencies(key, 5, 1, 0.2), np.float64)[:, 0]
    shift = WAVES.phase[:4, None] - WAVES.phase[None, :4]
    amplitude = 2 * np.sqrt(2) * np.abs(np.sin(np.pi * shift))
    wanted = scipy.special.j0(2 * np.pi * b * amplitude[..., None]).sum(axis=-1)
    found = response(gram)
    for at in range(4):
        block = gram[4 * at : 4 * at + 4, 4 * at : 4 * at + 4]
        np.testing.assert_allclose(block, wanted, rtol=1e-4, atol=1e-4)
    moving = wanted - wanted.mean(axis=0)
    np.testing.assert_allclose(found.power, np.trace(moving) / 4, rtol=1e-3)
    np.testing.assert_allclose(found.visibility, np.trace(moving) / np.trace(wanted), rtol=1e-3)
    # It sees a wave's phase, and no frequency better than another.
    assert found.high_over_low == pytest.approx(1, rel=1e-3)


def test_what_does_not_move_with_the_wave_is_not_seen():
    """A kernel of mean brightness and energy knows no phase."""
    features = np.stack([ROWS.mean(axis=1), (ROWS**2).mean(axis=1)], axis=1)
    found = response(features @ features.T)
    np.testing.assert_allclose(found.power, 0, atol=1e-9)
    np.testing.assert_allclose(found.visibility, 0, atol=1e-9)


def test_energies_of_eigenvectors_add_up_to_the_power():
    """n_k P(k) = sum_j lambda_j |H_k v_j|^2, with eigenvectors found by SciPy."""
    rows = np.random.default_rng(0).normal(size=(16, 20))
    gram = rows @ rows.T
    values, vectors = scipy.linalg.eigh(gram)
    found = response(gram)
    for at, frequency in enumerate(FREQUENCIES):
        of_it = vectors[WAVES.frequency == frequency]
        moving = of_it - of_it.mean(axis=0)
        assert 4 * found.power[at] == pytest.approx((values * (moving**2).sum(axis=0)).sum())


def test_learning_is_that_of_the_matrix_exponential():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(16, 16))
    gram, targets = rows @ rows.T, phase_targets(WAVES.frequency, WAVES.phase)
    assert targets.shape == (16, 4)
    np.testing.assert_allclose(targets.T @ targets, np.eye(4), atol=1e-12)
    times = np.array([0.1, 1.0, 7.0])
    parts = learned_parts(gram, targets, times)
    for at, time in enumerate(times):
        flow = scipy.linalg.expm(-gram * time * 16 / np.trace(gram)) @ targets
        np.testing.assert_allclose(parts[at], 1 - (flow**2).sum(axis=0), rtol=1e-8)


def test_a_linear_model_learns_all_frequencies_at_one_speed():
    """Each frequency's targets lie in a plane with eigenvalue n_k / 2, of mean 1 / ... in all."""
    targets = phase_targets(WAVES.frequency, WAVES.phase)
    parts = learned_parts(ROWS @ ROWS.T, targets, np.array([0.3]))
    # Eight equal eigenvalues among sixteen: each is twice the mean.
    np.testing.assert_allclose(parts, 1 - np.exp(-2 * 0.3 * 2), rtol=1e-4)


@pytest.mark.parametrize(
    ("gram", "words"),
    [
        (np.eye(3), "gram: got shape"),
        (np.full((16, 16), np.nan), "gram: got shape"),
    ],
)
def test_what_is_no_kernel_of_the_waves_is_refused(gram, words):
    with pytest.raises(InputError, match=words):
        response(gram)
    with pytest.raises(InputError, match=words):
        learned_parts(gram, np.eye(16), np.array([1.0]))


def test_one_frequency_cannot_be_compared():
    with pytest.raises(InputError, match="frequency: got 1"):
        frequency_response(np.eye(4), np.ones(4, int), np.zeros(4, int))
    with pytest.raises(InputError, match="gram: got the zero matrix"):
        learned_parts(np.zeros((4, 4)), np.eye(4), np.array([1.0]))
