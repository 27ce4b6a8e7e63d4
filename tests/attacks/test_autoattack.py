"""AutoAttack: its parts, their order, and that only survivors are attacked."""

import numpy as np
import pytest
import tensorflow as tf

from rlfat_tf import attacks
from rlfat_tf.attacks.autoattack import COMPONENTS, AutoAttack
from tests import reference

IMAGES, _, _ = reference.images_and_labels(12, seed=1)
NET = reference.keras_net(seed=4)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
LABELS[0] = (LABELS[0] + 1) % 3


def correct(images):
    return np.argmax(NET(images), -1) == LABELS


def test_the_standard_version_is_the_literatures():
    parts = AutoAttack(epsilon=8 / 255).components
    assert list(parts) == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert (parts["apgd_ce"].loss, parts["apgd_ce"].steps, parts["apgd_ce"].restarts) == (
        "ce",
        100,
        1,
    )
    assert (parts["apgd_t"].steps, parts["apgd_t"].targets) == (100, 9)
    assert (parts["fab_t"].steps, parts["fab_t"].targets) == (100, 9)
    assert parts["square"].queries == 5000 and parts["square"].p_init == 0.8
    assert {part.epsilon for part in parts.values()} == {8 / 255}
    assert {part.norm for part in AutoAttack(norm="l2", epsilon=2).components.values()} == {"l2"}


def test_other_versions():
    rand = AutoAttack(version="rand").components
    assert list(rand) == ["apgd_ce", "apgd_dlr"]
    assert [(part.loss, part.eot) for part in rand.values()] == [("ce", 20), ("dlr", 20)]
    assert [part.eot for part in AutoAttack(version="rand", eot=3).components.values()] == [3, 3]
    custom = AutoAttack(version="custom", attacks=["square", "apgd_ce"], budget=0.1).components
    assert list(custom) == ["square", "apgd_ce"]
    assert custom["square"].queries == 500 and custom["apgd_ce"].steps == 10


@pytest.mark.parametrize("names", ["apgd_ce,square", "square", 3])
def test_names_of_parts_come_one_by_one(names):
    with pytest.raises(ValueError, match=f"a tuple of names, .* received {names!r}"):
        AutoAttack(version="custom", attacks=names)


def test_parts_see_only_what_is_left(monkeypatch):
    seen = []

    class Spy(attacks.Attack):
        name: str = ""

        def run(self, logits_fn, images, labels, seed, unroll):
            seen.append((self.name, seed.examples.numpy().tolist()))
            noise = tf.where(tf.range(len(images)) % 2 == 0, 0.5, 0.0)
            return tf.clip_by_value(images + noise[:, None, None, None], 0, 1)

    for name in ("apgd_ce", "square"):
        monkeypatch.setitem(COMPONENTS, name, lambda ball, b, e, name=name: Spy(name=name))
    attack = AutoAttack(version="custom", attacks=["apgd_ce", "square"], epsilon=1.0)

    def logits_fn(images):
        """Class 1 as long as the corner pixel is what it was."""
        same = tf.reduce_any(tf.abs(images[:, None, 0, 0, 0] - IMAGES[:, 0, 0, 0]) < 1e-6, 1)
        return tf.one_hot(tf.cast(same, tf.int32), 2)

    labels = np.ones(12, np.int32)
    labels[3] = 0
    attack(logits_fn, IMAGES, labels)
    (first, all_right), (second, left) = seen
    assert (first, second) == ("apgd_ce", "square")
    assert all_right == [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    assert left == all_right[1::2]
