"""Classifiers of keras-hub, adapted: what their own preprocessor does is put inside."""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf.core import compat

hub = pytest.importorskip("keras_hub")
SHAPE = (32, 32, 3)
IMAGES = np.random.default_rng(0).random((4, *SHAPE), np.float32)


def resnet(**others):
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=SHAPE,
    )
    return hub.models.ImageClassifier(backbone=backbone, num_classes=5, **others)


def vit(**others):
    backbone = hub.models.ViTBackbone(
        image_shape=SHAPE, patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16
    )
    return hub.models.ViTImageClassifier(backbone=backbone, num_classes=5, **others)


def preprocessor(kind):
    converter = getattr(hub.layers, f"{kind}ImageConverter")(
        image_size=SHAPE[:2], scale=[1 / 58.4, 1 / 57.1, 1 / 57.4], offset=[-2.1, -2.0, -1.8]
    )
    return getattr(hub.models, f"{kind}ImageClassifierPreprocessor")(image_converter=converter)


@pytest.mark.parametrize("activation", ["softmax", None])
@pytest.mark.parametrize(("build", "kind"), [(resnet, "ResNet"), (vit, "ViT")])
def test_it_computes_what_predict_does(build, kind, activation, tmp_path):
    model = build(preprocessor=preprocessor(kind), activation=activation)
    expected = model.predict(255 * IMAGES, verbose=0)
    before = [np.copy(w) for w in model.get_weights()]
    adapted = rlfat_tf.adapt(model, bn_momentum=0.9, trainable="last:1")
    assert all(norm.momentum == 0.9 for norm in compat.batch_norm_layers(adapted))
    logits = adapted(IMAGES, training=False)
    found = logits if activation is None else tf.nn.softmax(logits)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    adapted.save(tmp_path / "adapted.keras")
    again = rlfat_tf.load(tmp_path / "adapted.keras")
    np.testing.assert_allclose(again(IMAGES, training=False), logits, atol=1e-6)
    adapted.set_weights([0 * w for w in adapted.get_weights()])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


def test_without_a_preprocessor_it_must_be_said_what_it_wants():
    model = vit(preprocessor=None)
    with pytest.raises(ValueError, match=r"cannot be told.*adapt\(model, input=\.\.\.\)"):
        rlfat_tf.adapt(model)
    expected = model(2 * IMAGES - 1, training=False)
    found = rlfat_tf.adapt(model, input="tf")(IMAGES, training=False)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert rlfat_tf.adapt(model, input="tf", classes=3).output_shape == (None, 3)
