"""What a network does to images first tells what it wants; it is never guessed."""

import numpy as np
import pytest
import tensorflow as tf

import rlfat_tf
from rlfat_tf.core.compat import keras
from rlfat_tf.models import Pixels
from rlfat_tf.models.adapted import scaling
from tests.models.theirs import BY_HAND, IMAGES, MEANS, SHAPE, STDS, layers, net, same


@pytest.mark.parametrize("name", BY_HAND)
def test_pixels_are_what_the_papers_say(name):
    expected = BY_HAND[name](IMAGES)
    layer = Pixels(*scaling.INPUTS[name][:4])
    np.testing.assert_allclose(layer(IMAGES), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(scaling.INPUTS[name].reference(IMAGES.copy()), expected, atol=1e-4)
    again = Pixels.from_config(layer.get_config())
    np.testing.assert_array_equal(again(IMAGES), layer(IMAGES))


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_8_bit_images_become_bit_for_bit_what_keras_makes_of_them(mode):
    values = np.random.default_rng(0).permuted(np.arange(256.0).repeat(3).reshape(-1, 3), axis=0)
    images = values.astype(np.float32)[None, :, None]
    found = Pixels(*scaling.INPUTS[mode][:4])(images / np.float32(255))
    expected = keras.applications.imagenet_utils.preprocess_input(images, mode=mode)
    np.testing.assert_array_equal(found, expected)


FRONTS = {
    "0-255": lambda: [layers.Rescaling(1 / 255)],
    "0-255, [-1, 1]": lambda: [layers.Rescaling(1 / 127.5, -1.0)],
    "0-255, means": lambda: [layers.Normalization(mean=255 * MEANS, variance=(255 * STDS) ** 2)],
    "0-255, nested": lambda: [keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255)])],
    "0-255, caffe": lambda: [
        layers.Lambda(lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode="caffe"))
    ],
    "0-255, two": lambda: [
        layers.Rescaling(1 / 255), layers.Normalization(mean=MEANS, variance=STDS**2)
    ],
    "unit, [-1, 1]": lambda: [layers.Rescaling(2.0, -1.0)],
    "unit, means": lambda: [layers.Normalization(mean=MEANS, variance=STDS**2)],
    "unit, 255": lambda: [layers.Rescaling(255.0)],
    "unit, undone": lambda: [layers.Rescaling(255.0), layers.Rescaling(1 / 255)],
    "unit, adapted": lambda: [Pixels(255.0), layers.Rescaling(1 / 255)],
}  # fmt: skip


@pytest.mark.parametrize("case", FRONTS)
def test_what_a_model_does_first_tells_what_it_wants(case):
    model = net(*FRONTS[case](), norm=False)
    assert scaling.find(model, "auto", SHAPE) == scaling.INPUTS[case.split(",")[0]]


UNTOLD = {
    "nothing tells": lambda: net(),
    "a name of another kind": lambda: net(name="my_vgg16"),
    "include_preprocessing=False": lambda: net(name="efficientnetv2-b0"),
    "scaled twice": lambda: net(layers.Rescaling(1 / 255), layers.Rescaling(1 / 255)),
    "no scaling": lambda: net(layers.Lambda(tf.sqrt)),
}


@pytest.mark.parametrize("case", UNTOLD)
def test_it_is_never_guessed(case):
    with pytest.raises(ValueError, match=r"cannot be told.*adapt\(model, input=\.\.\.\)"):
        scaling.find(UNTOLD[case](), "auto", SHAPE)


NAMES = {
    "vgg16": "caffe", "resnet152": "caffe", "resnet101v2": "tf", "inception_v3": "tf",
    "xception": "tf", "mobilenet_0.25_128": "tf", "mobilenetv2_1.00_224": "tf", "NASNet": "tf",
    "densenet169": "torch",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_keras_applications_tells_and_is_printed(name, capsys):
    model = net(name=name, norm=False)
    nested = keras.Sequential([keras.Input(SHAPE), model])
    assert scaling.find(nested, "auto", SHAPE) == scaling.INPUTS[NAMES[name]]
    assert f"{name!r} of keras.applications wants input={NAMES[name]!r}" in capsys.readouterr().out


@pytest.mark.parametrize("given", [("2", 1), (1,), ((1, 2), 0), (1, 0, "gbr"), 3, ("tf",)], ids=str)
def test_what_is_no_scaling_is_refused(given):
    with pytest.raises(ValueError, match="Expected input to be 'auto', '0-255'"):
        scaling.find(net(), given, SHAPE)
    with pytest.raises(ValueError, match="Unknown input 'cafe'. Did you mean 'caffe'"):
        scaling.find(net(), "cafe", SHAPE)


def test_a_scaling_of_ones_own():
    model = net(norm=False)
    adapted = rlfat_tf.adapt(model, input=((2.0, 3.0, 4.0), (-1.0, 0.5, 0.0), "bgr"))
    same(adapted, model, lambda x: x[..., ::-1] * [2, 3, 4] + [-1, 0.5, 0])
