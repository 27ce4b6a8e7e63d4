"""Noise of every value of its own: Gaussian, shot, impulse, speckle."""

from __future__ import annotations

import numpy as np

from rlfat_tf.core.types import Array
from rlfat_tf.data.corruptions.draws import Draws


def gaussian_noise(images: Array, draws: Draws, deviation: float) -> Array:
    """Adds N(0, deviation^2), as a sensor's electronics do."""
    return images + draws.normal(images.shape[1:], 0.0, deviation)


def shot_noise(images: Array, draws: Draws, photons: float) -> Array:
    """Counts Poisson(photons x) photons of every value: the noise of little light."""
    return np.stack([rng.poisson(photons * x) for rng, x in zip(draws.rngs, images)]) / photons


def impulse_noise(images: Array, draws: Draws, share: float) -> Array:
    """Makes a share of the values 0 or 1, as broken pixels are."""
    hit = draws.uniform(images.shape[1:]) < share
    return np.where(hit, draws.uniform(images.shape[1:]) < 0.5, images)


def speckle_noise(images: Array, draws: Draws, deviation: float) -> Array:
    """Adds x N(0, deviation^2): the brighter, the noisier."""
    return images * (1.0 + draws.normal(images.shape[1:], 0.0, deviation))
