"""One optimisation step of every recipe of the paper at full size: ``pytest -m slow``."""

from __future__ import annotations

import numpy as np
import pytest
from absl import flags

from rlfat_tf import data
from rlfat_tf.run import builders, cli
from rlfat_tf.run.config import TrainConfig
from tests import reference

PARAMETERS = {"cifar10": 45_901_914, "cifar100": 45_959_604, "stl10": 2_232_794}


def two_images(dataset: str, tfds_data_dir) -> data.DataSet:
    if dataset != "stl10":
        return data.load(
            dataset, data_dir=str(tfds_data_dir), download=False, train_examples=2, test_examples=2
        )
    # STL-10 is not on disk here: images of its size. Reading its files is tested in tests/data.
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), np.uint8)
    return data.from_arrays(images, [0, 9], images, [0, 9], num_classes=10)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", PARAMETERS)
@pytest.mark.parametrize("method", reference.METHODS)
def test_one_step_of_the_full_recipe(dataset, method, tfds_data_dir):
    values = flags.FlagValues()
    cli.define_flags(TrainConfig, values)
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    flags.DEFINE_string("undefok", "", "", flag_values=values)
    arguments = [f"--dataset={dataset}", f"--method={method}", "--batch_size=2"]
    config, _ = cli.parse(["train.py", *arguments], values)
    data_set = two_images(dataset, tfds_data_dir)
    robust = builders.build_model(config, data_set, 1, config.train_steps)
    assert sum(np.prod(v.shape) for v in robust.trainable_variables) == PARAMETERS[dataset]
    before = [w.copy() for w in robust.get_weights()]
    batches = data.training_batches(
        data_set.train, batch_size=2, seed=config.seed, augment=config.augment
    )
    logs = robust.fit(batches, steps_per_epoch=1, verbose=0).history
    assert np.isfinite(logs["loss"][0])
    moved = [not np.array_equal(a, b) for a, b in zip(before, robust.get_weights())]
    assert np.mean(moved) > 0.9
