"""Every family of keras.applications, adapted, computes what it computes after its own function.

Building them takes most of the time: the table is slow, and CI runs one of it, on one stack.
"""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf.core import compat
from rlfat_tf.core.compat import KERAS_3, keras

apps = keras.applications
# Builder, the module with its own preprocess_input, and the smallest images that it takes.
FAMILIES = {
    "VGG16": (apps.VGG16, apps.vgg16, 32),
    "ResNet50": (apps.ResNet50, apps.resnet50, 32),
    "ResNet50V2": (apps.ResNet50V2, apps.resnet_v2, 32),
    "InceptionV3": (apps.InceptionV3, apps.inception_v3, 75),
    "InceptionResNetV2": (apps.InceptionResNetV2, apps.inception_resnet_v2, 75),
    "Xception": (apps.Xception, apps.xception, 71),
    "MobileNet": (lambda **k: apps.MobileNet(alpha=0.25, **k), apps.mobilenet, 32),
    "MobileNetV2": (lambda **k: apps.MobileNetV2(alpha=0.35, **k), apps.mobilenet_v2, 32),
    "MobileNetV3Small": (apps.MobileNetV3Small, apps.mobilenet_v3, 32),
    "NASNetMobile": (apps.NASNetMobile, apps.nasnet, 32),
    "DenseNet121": (apps.DenseNet121, apps.densenet, 32),
    "EfficientNetB0": (apps.EfficientNetB0, apps.efficientnet, 32),
    "EfficientNetV2B0": (apps.EfficientNetV2B0, apps.efficientnet_v2, 32),
    "EfficientNetV2S": (apps.EfficientNetV2S, apps.efficientnet_v2, 32),
    "ConvNeXtTiny": (apps.ConvNeXtTiny, apps.convnext, 32),
}
if not KERAS_3:
    FAMILIES["RegNetX002"] = (apps.RegNetX002, apps.regnet, 32)
    FAMILIES["ResNetRS50"] = (apps.ResNetRS50, apps.resnet_rs, 32)
QUICK = {"MobileNet": "current"}
# Whose layers or operations are others than those of the rest.
SAVED = ("MobileNet", "MobileNetV3Small", "EfficientNetB0", "NASNetMobile", "ConvNeXtTiny")


def unlike_images(size):
    """Eight images of different colours: of like ones batch statistics would be rounding alone."""
    rng = np.random.default_rng(0)
    colours = rng.random((8, 1, 1, 3), np.float32)
    return np.round(255 * (0.7 * colours + 0.3 * rng.random((8, size, size, 3), np.float32)))


def calibrate(model, images):
    """Sets the statistics of batch normalisation, since activations vanish with those at first."""
    norms = [layer for layer in model.layers if hasattr(layer, "moving_mean")]
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(norms, before):
        layer.momentum = momentum


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=getattr(pytest.mark, QUICK.get(n, "slow"))) for n in FAMILIES]
)
def test_logits_are_those_after_the_familys_own_preprocessing(name, tmp_path):
    build, module, size = FAMILIES[name]
    bits = unlike_images(size)
    images = bits / np.float32(255)
    preprocessed = tf.constant(module.preprocess_input(bits.copy()))
    model = build(weights=None, input_shape=(size, size, 3), classes=7)
    calibrate(model, preprocessed)
    before, activation = [np.copy(w) for w in model.get_weights()], model.layers[-1].activation

    adapted = rlfat_tf.adapt(model)
    assert model.layers[-1].activation is activation
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    model.layers[-1].activation = keras.activations.linear
    expected = model(preprocessed, training=False).numpy()
    tolerance = 1e-5 * max(1, np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 100 * tolerance  # another scaling would show
    np.testing.assert_allclose(adapted(images, training=False), expected, atol=tolerance, rtol=0)
    if name in SAVED and compat.loads_again(name):
        adapted.save(tmp_path / "adapted.keras")
        again = rlfat_tf.load(tmp_path / "adapted.keras")(images, training=False)
        np.testing.assert_allclose(again, expected, atol=tolerance, rtol=0)
