"""The code of docs/extending.md runs and does what it says."""

import re
from pathlib import Path

import numpy as np
import pytest

import rlfat_tf
from rlfat_tf import attacks, data, evaluation, models
from rlfat_tf.core.compat import keras
from rlfat_tf.data import DATASETS
from rlfat_tf.evaluation.suite import EVALUATION_ATTACKS
from rlfat_tf.methods import METHODS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "extending.md"
REGISTRIES = (METHODS, attacks.ATTACKS, EVALUATION_ATTACKS, DATASETS, models.MODELS)


@pytest.fixture(scope="module")
def page():
    before = [dict(registry) for registry in REGISTRIES]
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code) == 4
    for block in code:
        exec(compile(block, str(PAGE), "exec"), {"__name__": "extending"})  # noqa: S102
    yield code
    for registry, kept in zip(REGISTRIES, before):
        registry.clear()
        registry.update(kept)


def test_a_new_method_takes_less_than_forty_lines(page):
    assert len(page[0].splitlines()) < 40


def test_all_four_work_together(page, tmp_path):
    stripes = data.load("stripes")
    network = models.build("linear_net", input_shape=(8, 8, 1), num_classes=2)
    robust = METHODS["entropic"](network, attack=attacks.LinfPGD(epsilon=0.05, steps=2), bonus=0.0)
    robust.compile(optimizer=keras.optimizers.Adam(0.01), metrics=["accuracy"])
    batches = data.training_batches(stripes.train, batch_size=50, seed=0, augment="none")
    logs = robust.fit(batches, steps_per_epoch=10, epochs=6, verbose=0).history
    assert {"loss", "adv_loss", "entropy", "adv_accuracy"} <= set(logs)
    assert logs["adv_accuracy"][-1] > 0.9
    robust.save(tmp_path / "new.keras")
    again = rlfat_tf.load(tmp_path / "new.keras")
    np.testing.assert_allclose(
        again.predict(stripes.test.images, verbose=0),
        robust.predict(stripes.test.images, verbose=0),
        rtol=1e-5,
    )
    report = evaluation.evaluate(
        robust, stripes.test, attacks="sign_noise,pgd", epsilon=0.3, checked=False
    )
    found = {name: result["robust_accuracy"] for name, result in report["attacks"].items()}
    assert report["clean_accuracy"] > 0.9
    assert found["pgd"] <= found["sign_noise"] <= report["clean_accuracy"]
