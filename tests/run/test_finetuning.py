"""From a folder of photos to a served robust classifier, as docs/tutorials/finetuning.md says."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import rlfat_tf
from rlfat_tf import models
from rlfat_tf.core import compat
from rlfat_tf.core.compat import KERAS_3, keras
from rlfat_tf.models.adapted import applications
from rlfat_tf.run import builders, cli, initial_weights, train

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "finetuning.md"
CODE = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
SIDE = 8


def tiny(weights="imagenet", include_top=False, pooling="avg", input_shape=None):
    """Stands for MobileNetV2, by name and by what it wants: [-1, 1]."""
    assert (include_top, pooling) == (False, "avg")
    inputs = keras.Input(input_shape or (None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="stem")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.999)(x))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3, name="last")(x))
    model = keras.Model(inputs, x, name="mobilenetv2_1.00_224")
    if str(weights).endswith(".h5"):
        model.load_weights(weights)
    return model


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    monkeypatch.setattr(keras.applications, "MobileNetV2", tiny)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Bright cats and dark dogs; the tests stand beside their folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 2)):
        for name, low in (("cat", 150), ("dog", 0)):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(low, low + 100, (SIDE, SIDE, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def parse(*arguments):
    return cli.parse(["train.py", *arguments], cli.new_values())[0]


@pytest.mark.current
def test_from_a_folder_of_photos_to_an_answer(photos, capsys, monkeypatch):
    tested = {"test_accuracy": 0.75, "test_adv_accuracy": 0.5}
    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: tested)  # as for any network
    config = parse(
        "--recipe=photos_finetune",
        "--dataset=folder:photos",
        f"--image_size={SIDE}",
        "--train_steps=7",
        "--batch_size=8",
        "--augment=none",
        "--validation_fraction=0",
        "--guard=off",
    )
    assert config.weights == "imagenet" and config.run_dir == "runs/photos_finetune"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*momentum")
        train.run(config)
    assert (
        "'mobilenetv2_1.00_224' of keras.applications wants input='tf'" in capsys.readouterr().out
    )
    robust = rlfat_tf.load(config.run_dir)
    (norm,) = compat.batch_norm_layers(robust.model)
    assert norm.momentum == 0.9 and np.abs(np.asarray(norm.moving_mean)).max() > 0

    (photos / "test" / "cat" / "0.png").rename("cat.jpg")
    exec(compile(CODE[0], str(PAGE), "exec"), {"__name__": "page"})  # noqa: S102
    pixels = np.asarray(Image.open("cat.jpg"))[None] / 255.0
    label = int(robust.predict(pixels.astype(np.float32), verbose=0).argmax())
    assert capsys.readouterr().out.split()[0] == ("cat", "dog")[label]


def test_the_same_from_python(photos):
    code = (
        CODE[1]
        .replace("160, 160", f"{SIDE}, {SIDE}")
        .replace("image_size=160", f"image_size={SIDE}")
    )
    code = code.replace("32", "8").replace("epochs=30", "epochs=1")
    names = {"__name__": "page"}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102
    network, robust = names["network"], names["robust"]
    assert network.output_shape == (None, 2) and len(network.trainable_weights) == 8
    assert "val_adv_accuracy" in robust.history.history


def test_weights_of_a_run_of_the_same_network(photos):
    """All of them; or all but those of the last layer, where it tells other classes apart."""
    mobile = ["--dataset=folder:photos", "--model=keras:MobileNetV2", "--freeze=backbone"]
    robust = rlfat_tf.Standard(build())
    robust.save("robust.keras")
    config = parse(*mobile, "--weights=robust.keras")
    builders.check_model(config)
    given = initial_weights.load(config)
    for classes in (3, 2):
        photos_of = SimpleNamespace(image_shape=(SIDE, SIDE, 3), num_classes=classes)
        made = builders.build_model(config, photos_of, 1, 2, initial=given)
        kept = zip(made.model.get_weights()[:-2], robust.model.get_weights()[:-2])
        assert all(np.array_equal(one, other) for one, other in kept)
        one, other = made.model.get_weights()[-2], robust.model.get_weights()[-2]
        assert np.array_equal(one, other) == (classes == 3)
        assert len(made.model.trainable_weights) == 2
    with pytest.raises(ValueError, match="--weights: .*or imagenet, none or a .h5 file"):
        initial_weights.load(parse(*mobile, "--weights=nothing.keras"))


def build(**others):
    return models.build("keras:MobileNetV2", input_shape=(SIDE, SIDE, 3), num_classes=3, **others)


def test_weights_of_a_file(tmp_path):
    theirs = tiny(None, input_shape=(SIDE, SIDE, 3))
    path = tmp_path / "no_top.weights.h5"
    theirs.save_weights(path)
    network = build(weights=str(path))
    images = np.random.default_rng(0).random((2, SIDE, SIDE, 3), np.float32)
    kernel, bias = network.layers[-1].get_weights()
    expected = np.asarray(theirs(2 * images - 1)) @ kernel + bias
    np.testing.assert_allclose(network(images), expected, rtol=1e-4, atol=1e-6)
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]).save_weights(path)
    with pytest.raises(ValueError, match="does not hold the weights of keras:MobileNetV2 without"):
        build(weights=str(path))


FREEZE = {"none": 8, "backbone": 2, "but_last:1": 4, "but_last:2": 6}


@pytest.mark.parametrize("freeze", FREEZE)
def test_what_a_flag_freezes(freeze):
    network = build(trainable=applications.trainable_of(freeze))
    assert len(network.trainable_weights) == FREEZE[freeze]


def test_what_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    def refused(message, *flags):
        with pytest.raises((ValueError, OSError), match=message):
            builders.check_model(parse(*flags))

    refused("'MobilNetV2'. Did you mean 'MobileNetV2'", "--model=keras:MobilNetV2")
    refused("Unknown network 'wrn'", "--model=wrn")
    if not KERAS_3:
        refused("Keras 2 cannot load a keras:ConvNeXtTiny", "--model=keras:ConvNeXtTiny")
    mobile = "--model=keras:MobileNetV2"
    refused("Did you mean 'backbone'", mobile, "--freeze=backbon")
    refused("there is no nothing.h5", mobile, "--weights=nothing.h5")
    with pytest.raises(ValueError, match=r"--weights: .*imagnet.*or imagenet, none or a .h5"):
        initial_weights.load(parse(mobile, "--weights=imagnet"))
    builders.check_model(parse(mobile, "--weights=none"))
    with pytest.raises(ValueError, match="3 channels; these have 1"):
        models.build("keras:MobileNetV2", input_shape=(8, 8, 1), num_classes=2)
    with pytest.raises(ValueError, match="own preprocessing"):
        build(normalize="cifar10")

    def no_network(**_):
        raise Exception("URL fetch failure on https://a.b/c_no_top.h5: None -- no network")

    monkeypatch.setattr(keras.applications, "MobileNetV2", no_network)
    refused(r"cannot be fetched.*c_no_top.h5.*--weights=<file>.*--weights=none", mobile)
    with pytest.warns(UserWarning, match="makes no use of --freeze:"):
        builders.warn_of_ignored_flags(
            parse("--model=small_cnn", "--weights=none", "--freeze=backbone")
        )


def test_the_names_are_keras_own():
    assert {"MobileNetV2", "EfficientNetB0", "ConvNeXtTiny", "VGG16"} <= set(applications.names())
