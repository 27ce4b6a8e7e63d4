"""A tiny network of somebody else, and what networks want to see of images, in NumPy."""

import numpy as np

from rlfat_tf.core.compat import keras

layers = keras.layers
SHAPE = (6, 6, 3)
IMAGES = np.random.default_rng(0).random((4, *SHAPE), np.float32)
MEANS, STDS = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
CAFFE = np.array([103.939, 116.779, 123.68])
# Every value in NumPy, as the papers of the networks have it.
BY_HAND = {
    "unit": lambda x: x,
    "0-255": lambda x: 255 * x,
    "tf": lambda x: x * 2 - 1,
    "torch": lambda x: (x - MEANS) / STDS,
    "caffe": lambda x: 255 * x[..., ::-1] - CAFFE,
}


def net(*front, name="theirs", head=True, activation="softmax", norm=True, shape=SHAPE):
    """A tiny network of somebody else, with unlike channels and batch statistics."""
    inputs = keras.Input(shape)
    x = inputs
    for layer in front:
        x = layer(x)
    x = layers.Conv2D(4, 3, kernel_initializer="glorot_normal")(x)
    x = layers.BatchNormalization(momentum=0.99)(x) if norm else x
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    if head:
        x = layers.Dense(3, activation=activation, name="last")(x)
    model = keras.Model(inputs, x, name=name)
    rng = np.random.default_rng(1)
    model.set_weights(
        [rng.uniform(0.2, 1, w.shape) - 0.3 * (w.ndim > 1) for w in model.get_weights()]
    )
    return model


def centred(logits):
    return logits - np.mean(logits, -1, keepdims=True)


def same(adapted, model, preprocess):
    expected = np.log(np.asarray(model(preprocess(IMAGES).astype(np.float32), training=False)))
    found = np.asarray(adapted(IMAGES, training=False))
    np.testing.assert_allclose(centred(found), centred(expected), rtol=1e-4, atol=1e-4)
