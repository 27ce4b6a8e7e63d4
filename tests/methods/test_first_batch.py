"""What fit, evaluate and predict are given is looked at before anything is traced."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import PGDAT, RLFATP, attacks
from rlfat_tf.core.compat import KERAS_3, keras
from rlfat_tf.methods.first_batch import first_batch
from rlfat_tf.methods.objective import weighted
from tests import reference

layers = keras.layers
IMAGES, _, LABELS = reference.images_and_labels()
BYTES = (255 * IMAGES).astype(np.uint8)
NAMES = np.array(["cat", "dog", "owl"])[LABELS]


def compiled(model=None):
    robust = PGDAT(model or reference.keras_net(), attack=attacks.FGSM(epsilon=0.1))
    robust.compile(optimizer=keras.optimizers.SGD(0.1), metrics=["accuracy"])
    return robust


@pytest.fixture(scope="module")
def untraced():
    """One model for all refusals: none of them gets as far as tracing a step."""
    return compiled()


def batches(*parts):
    return tf.data.Dataset.from_tensor_slices(parts[0] if len(parts) == 1 else parts).batch(4)


class Pairs(keras.utils.Sequence):
    """A Sequence of one batch."""

    def __init__(self, *batch):
        super().__init__()
        self.batch = batch

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return self.batch


WRONG = {
    "0 to 255": ((255 * IMAGES, LABELS), "values from 0.* to 25"),
    "0 to 255, in a data set": ((batches(255 * IMAGES, LABELS),), "divide 8-bit images by 255"),
    "0 to 255, in a Sequence": ((Pairs(255 * IMAGES, LABELS),), "divide 8-bit images by 255"),
    "8 bits": ((BYTES, LABELS), r"received uint8. Divide 8-bit images by 255: tf.cast"),
    "8 bits, in a data set": ((batches(BYTES, LABELS),), "received uint8"),
    "names": ((IMAGES, NAMES), "strings, for instance .*. Number the names: names, labels = numpy"),
    "a list of names": ((IMAGES, list(NAMES)), "received strings"),
    "names in a data set": ((batches(IMAGES, NAMES),), "StringLookup"),
    "fractions": ((IMAGES, LABELS + 0.7), r"whole numbers, of the classes; received 2.7"),
    "tfds": ((batches({"image": IMAGES, "label": LABELS}),), "as_supervised=True"),
    "tfds in memory": (({"image": IMAGES, "label": LABELS},), "as_supervised=True"),
    "unbatched": ((batches(IMAGES, LABELS).unbatch(),), r"received single ones.*batch\(128\)"),
    "other shape": (
        (IMAGES[:, :4], LABELS),
        "takes images of shape .*; received images of shape .*4, ",
    ),
    "two inputs": (({"a": IMAGES, "b": IMAGES}, LABELS), "one batch of images.*dict of several"),
    "NaN": ((IMAGES + np.float32(np.nan), LABELS), r"received pixels that are NaN. Find them"),
    "a list of images": ((IMAGES.tolist(), LABELS), r"list of numbers. Write numpy.asarray.images"),
    "a list of labels": ((IMAGES, LABELS.tolist()), r"list of numbers. Write numpy.asarray.labels"),
    "no labels": ((IMAGES,), "received images only"),
    "no examples": ((IMAGES[:0], LABELS[:0]), "at least one example; received none"),
    "several sizes": (
        (tf.data.Dataset.from_tensors((tf.ragged.stack([IMAGES[0], IMAGES[1, :3]]), LABELS[:2])),),
        "one size in one tensor",
    ),
    "sparse labels": (
        (IMAGES, tf.sparse.from_dense(np.eye(3)[LABELS])),
        "received a SparseTensor. Convert it",
    ),
    "no shape": (
        (
            batches(IMAGES, LABELS).map(
                lambda x, y: (tf.numpy_function(lambda a: a, [x], tf.float32), y)
            ),
        ),
        "tf.numpy_function and tf.py_function leave them. State it in the map",
    ),
}


@pytest.mark.parametrize(("data", "message"), WRONG.values(), ids=WRONG)
def test_what_no_step_could_use(untraced, data, message):
    calls = [untraced.fit, untraced.evaluate]
    if not isinstance(data[0], (tf.data.Dataset, keras.utils.Sequence)):
        calls += [untraced.train_on_batch, untraced.test_on_batch]
    for call in calls:
        with pytest.raises(ValueError, match=message) as error:
            call(*data)
        assert "\n" not in str(error.value)
    assert untraced.train_function is None and untraced.test_function is None


@pytest.mark.parametrize("data", [batches(IMAGES, LABELS).take(0), batches(IMAGES, LABELS).skip(9)])
def test_an_empty_data_set(untraced, data):
    with pytest.raises(ValueError, match="at least one example; received none"):
        untraced.fit(data)
    assert untraced.train_function is None


@pytest.mark.skipif(not KERAS_3, reason="Sequences of Keras 2 have a length")
def test_a_sequence_without_an_end(untraced):
    class Endless(keras.utils.PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return 255 * IMAGES[:4], LABELS[:4]

    with pytest.raises(ValueError, match="divide 8-bit images by 255"):
        untraced.fit(Endless(), steps_per_epoch=1)
    assert first_batch(Endless())[0].shape == (4, *IMAGES.shape[1:])


def test_weights_of_classes_in_the_place_of_those_of_examples(untraced):
    weights = np.ones((len(IMAGES), 3))
    message = r"one sample weight for every example.*received shape \(.*, 3\)"
    for call in (untraced.fit, untraced.evaluate, untraced.train_on_batch, untraced.test_on_batch):
        with pytest.raises(ValueError, match=message):
            call(IMAGES, LABELS, sample_weight=weights)
    with pytest.raises(ValueError, match=message):
        untraced.fit(batches(IMAGES, LABELS, weights))
    with pytest.raises(ValueError, match=message):
        untraced.fit(IMAGES, LABELS, validation_data=(IMAGES, LABELS, weights))
    assert untraced.train_function is None


def test_weights_that_only_the_step_sees():
    with pytest.raises(ValueError, match=r"one sample weight for every example.*shape \(1, 3\)"):
        weighted(tf.zeros(1), tf.ones((1, 3)))  # they would be added up, of one example
    np.testing.assert_array_equal(weighted(tf.ones(2), tf.constant([[2.0], [3.0]])), [2, 3])


def unknown_shapes():
    """A data set that does not tell the height and width of its images."""
    signature = (tf.TensorSpec([None, None, None, None]), tf.TensorSpec([None], tf.int64))
    return tf.data.Dataset.from_generator(
        lambda: iter([(IMAGES[:4], LABELS[:4])]), output_signature=signature
    )


def test_the_classifier_tells_the_shape_that_a_data_set_does_not():
    found = []
    for data in ((unknown_shapes(),), (IMAGES[:4], LABELS[:4])):
        keras.utils.set_random_seed(1)
        robust = RLFATP(reference.keras_net(seed=3), attack=attacks.FGSM(epsilon=0.1))
        robust.compile(optimizer=keras.optimizers.SGD(0.1))
        found.append(robust.fit(*data, batch_size=None, verbose=0, shuffle=False).history["loss"])
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_images_that_a_method_cannot_shuffle_are_refused_before_it_is_traced():
    any_size = keras.Sequential(
        [keras.Input((None, None, IMAGES.shape[-1])), layers.GlobalAveragePooling2D()]
    )
    any_size.add(layers.Dense(3))
    front = keras.Sequential([keras.Input((4, 8, 8)), layers.Flatten(), layers.Dense(3)])
    flat = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    for model, data, message in (
        (any_size, (unknown_shapes(),), "known height and width"),
        (front, (np.zeros((2, 4, 8, 8), np.float32), np.zeros(2)), r"Permute\(\(3, 1, 2\)\)"),
        (flat, (np.zeros((2, 8), np.float32), np.zeros(2)), r"layers.Flatten\(\), model"),
    ):
        robust = RLFATP(model, attack=attacks.FGSM(epsilon=0.1))
        robust.compile(optimizer="sgd")
        with pytest.raises(ValueError, match=message):
            robust.fit(*data)
        assert robust.train_function is None


def test_validation_data_are_looked_at_before_training(untraced):
    for data in ((255 * IMAGES, LABELS), batches(BYTES, LABELS)):
        with pytest.raises(ValueError, match="by 255"):
            untraced.fit(IMAGES, LABELS, validation_data=data)
    assert untraced.train_function is None


def test_a_generator_is_not_read_and_what_its_batch_is_told_by_the_step():
    def batch():
        yield 255 * IMAGES, LABELS

    robust = compiled()
    before = robust.get_weights()
    match = r"^Expected images in \[0, 1\] \(divide .* received values from 0.* to 25[0-9.]+$"
    with pytest.raises(ValueError, match=match):
        robust.fit(batch(), verbose=0)
    for old, new in zip(before, robust.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_reading_a_batch_takes_none_from_training():
    data = tf.data.Dataset.from_generator(
        lambda: iter([(IMAGES[:4], LABELS[:4])] * 2),
        output_signature=(tf.TensorSpec([4, *IMAGES.shape[1:]]), tf.TensorSpec([4], tf.int64)),
    ).apply(tf.data.experimental.assert_cardinality(2))
    robust = compiled()
    assert robust.fit(data, verbose=0).history["loss"]
    assert int(robust.optimizer.iterations) == 2


def test_everything_frozen():
    model = reference.keras_net()
    model.trainable = False
    robust = compiled(model)
    for call in (robust.fit, robust.train_on_batch):
        with pytest.raises(ValueError, match="all of .* are frozen.*model.trainable = True"):
            call(IMAGES, LABELS)
    assert robust.train_function is None


def with_entries(classes=3):
    inputs = keras.Input(IMAGES.shape[1:])
    flat = layers.Flatten()(inputs)
    return keras.Model(inputs, {"features": flat, "logits": layers.Dense(classes)(flat)})


def test_logits_in_a_dictionary():
    robust = compiled(with_entries())
    assert robust.fit(IMAGES, LABELS, verbose=0).history["adv_accuracy"]
    expected = robust.model(IMAGES)["logits"]
    np.testing.assert_allclose(robust.predict(IMAGES, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_a_model_that_scales_again_is_told_once():
    model = keras.Sequential(
        [keras.Input(IMAGES.shape[1:]), layers.Rescaling(1 / 255), layers.Flatten()]
    )
    model.add(layers.Dense(3))
    robust = compiled(model)
    with pytest.warns(UserWarning, match="seems to scale images of 0 to 255 itself") as told:
        robust.fit(IMAGES, LABELS, verbose=0)
        robust.fit(IMAGES, LABELS, verbose=0)
    assert len([w for w in told if "0 to 255" in str(w.message)]) == 1
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (BYTES, "uint8"),
        (255 * IMAGES, "values up to 25"),
        (batches(BYTES), "uint8"),
        (batches(255 * IMAGES, LABELS), "values up to 25"),
    ],
)
def test_predicting_images_that_are_not_in_0_to_1(untraced, images, received):
    match = f"predict expects float images in .0, 1.; received {received}.*Divide .*images / 255"
    with pytest.warns(UserWarning, match=match) as told:
        untraced.predict(images, verbose=0)
    assert len(told) == 1 and told[0].filename == __file__


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], r"a batch of images.* received shape .*images\[None\]"),
        (batches(IMAGES).unbatch(), r"a batch of images.*dataset.batch\(128\)"),
        (IMAGES.tolist(), r"predict expects one array of images; received a list"),
    ],
)
def test_predicting_what_is_no_batch(untraced, images, message):
    with pytest.raises(ValueError, match=message):
        untraced.predict(images, verbose=0)


def test_predicting_images_in_0_to_1(untraced):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        untraced.predict(IMAGES, verbose=0)
        untraced.predict(batches(IMAGES), verbose=0)
        untraced.predict_on_batch(IMAGES)
    with pytest.warns(UserWarning, match="received uint8"):
        untraced.predict_on_batch(BYTES)
