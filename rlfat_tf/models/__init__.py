"""Networks by name: built anew, or robust ones with the weights that come with the library."""

from __future__ import annotations

from rlfat_tf.models.adapted import LogOfProbabilities, Pixels, application
from rlfat_tf.models.preact_resnet import preact_resnet18
from rlfat_tf.models.reference import PadChannels, reference_wide_resnet
from rlfat_tf.models.registry import MODELS, build, find
from rlfat_tf.models.resnet import resnet18
from rlfat_tf.models.small_cnn import small_cnn
from rlfat_tf.models.wide_resnet import wide_resnet
from rlfat_tf.models.zoo import Pretrained, load_pretrained, pretrained

__all__ = [
    "LogOfProbabilities",
    "MODELS",
    "PadChannels",
    "Pixels",
    "Pretrained",
    "application",
    "build",
    "find",
    "load_pretrained",
    "preact_resnet18",
    "pretrained",
    "reference_wide_resnet",
    "resnet18",
    "small_cnn",
    "wide_resnet",
]
