"""Classifiers that others have trained, as networks from images in [0, 1] to logits."""

from rlfat_tf.models.adapted.adapt import adapt
from rlfat_tf.models.adapted.applications import application
from rlfat_tf.models.adapted.layers import LogOfProbabilities, Pixels

__all__ = ["LogOfProbabilities", "Pixels", "adapt", "application"]
