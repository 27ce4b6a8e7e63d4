"""Adversarially robust image classifiers in TensorFlow/Keras: RLFAT and the systems around it."""

from __future__ import annotations

from rlfat_tf import attacks, data, evaluation, methods, models
from rlfat_tf.core import losses, norms, random, transforms
from rlfat_tf.core.compat import keras
from rlfat_tf.core.transforms import RandomBlockShuffle, random_block_shuffle
from rlfat_tf.core.versions import VERSION as __version__
from rlfat_tf.methods import (
    ATLD,
    HAT,
    IKL,
    MART,
    METHODS,
    PGDAT,
    RBSATP,
    RBSATT,
    RLFATP,
    RLFATT,
    SCORE,
    TRADES,
    AdversarialModel,
    FeatureScattering,
    LocalGlobal,
    Standard,
)
from rlfat_tf.methods.average import Average
from rlfat_tf.methods.inference import InferenceTransform
from rlfat_tf.methods.regularizers import LSP, GradAlign
from rlfat_tf.methods.weight_perturbation import AWP
from rlfat_tf.models.adapted import adapt
from rlfat_tf.run.config import TrainConfig
from rlfat_tf.run.guard import OverfittingGuard
from rlfat_tf.storage.checkpoint import load
from rlfat_tf.storage.saved_model import export_saved_model

__all__ = [
    "ATLD",
    "AWP",
    "Average",
    "FeatureScattering",
    "GradAlign",
    "HAT",
    "IKL",
    "InferenceTransform",
    "LSP",
    "LocalGlobal",
    "MART",
    "METHODS",
    "OverfittingGuard",
    "PGDAT",
    "RBSATP",
    "RBSATT",
    "RLFATP",
    "RLFATT",
    "SCORE",
    "TRADES",
    "AdversarialModel",
    "RandomBlockShuffle",
    "Standard",
    "TrainConfig",
    "__version__",
    "adapt",
    "attacks",
    "data",
    "evaluation",
    "export_saved_model",
    "keras",
    "load",
    "losses",
    "methods",
    "models",
    "norms",
    "random",
    "random_block_shuffle",
    "transforms",
]
