"""Adversarially robust image classifiers in TensorFlow/Keras: RLFAT and the systems around it."""

from __future__ import annotations

from rlfat_tf import attacks, data, evaluation, losses, methods, models, norms, random, transforms
from rlfat_tf.checkpoint import load
from rlfat_tf.config import TrainConfig
from rlfat_tf.export import export_saved_model
from rlfat_tf.inference import InferenceTransform
from rlfat_tf.methods import (
    ATLD,
    METHODS,
    PGDAT,
    RBSATP,
    RBSATT,
    RLFATP,
    RLFATT,
    TRADES,
    AdversarialModel,
    FeatureScattering,
    LocalGlobal,
    Standard,
)
from rlfat_tf.regularizers import LSP
from rlfat_tf.transforms import RandomBlockShuffle, random_block_shuffle
from rlfat_tf.versions import VERSION as __version__

__all__ = [
    "ATLD",
    "FeatureScattering",
    "InferenceTransform",
    "LSP",
    "LocalGlobal",
    "METHODS",
    "PGDAT",
    "RBSATP",
    "RBSATT",
    "RLFATP",
    "RLFATT",
    "TRADES",
    "AdversarialModel",
    "RandomBlockShuffle",
    "Standard",
    "TrainConfig",
    "__version__",
    "attacks",
    "data",
    "evaluation",
    "export_saved_model",
    "load",
    "losses",
    "methods",
    "models",
    "norms",
    "random",
    "random_block_shuffle",
    "transforms",
]
