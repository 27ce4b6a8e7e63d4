"""What a configuration builds: methods with their arguments, and optimizers."""

from __future__ import annotations

import pytest

import rlfat_tf
from rlfat_tf.core.compat import KERAS_3
from rlfat_tf.methods import METHODS
from rlfat_tf.run import builders, train
from tests.runs import config


@pytest.mark.parametrize("method", METHODS)
def test_every_method_passes_its_arguments(method, tmp_path):
    arguments = builders.method_arguments(
        config(tmp_path, method=method, trades_lambda=3.0, eta=0.25, num_blocks=3,
               weight_decay=1e-4, attack_bn="batch",
               ema=0.9, ema_warmup=0.5, awp=0.01, awp_warmup=1.5),
        steps_per_epoch=10,
        total_steps=20,
    )  # fmt: skip
    assert arguments["average"] == rlfat_tf.Average(0.9, warmup=5)
    assert arguments["weight_perturbation"] == rlfat_tf.AWP(0.01, warmup=15)
    net, helper = (
        rlfat_tf.models.build("small_cnn", input_shape=(8, 8, 1), num_classes=10) for _ in "12"
    )
    if method == "hat":
        arguments["helper_model"] = helper
    stored = METHODS[method](net, **arguments).get_config()
    wanted = {"weight_decay": 1e-4, "attack_bn": "batch"}
    wanted.update({"trades_lambda": 3.0} if method.endswith(("trades", "_t")) else {})
    wanted.update({"num_blocks": 3} if method[:2] in ("rb", "rl") else {})
    wanted.update({"eta": 0.25} if method.startswith("rlfat") else {})
    assert {name: stored[name] for name in wanted} == wanted
    assert METHODS[method](net, **arguments).eval_attack.epsilon == pytest.approx(0.1)


def test_pictures_of_no_validation_set_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: {})
    monkeypatch.setattr(train, "show", lambda *_: None)
    without = {"validation_fraction": 0.0, "picture_every": 1, "train_steps": 1}
    with pytest.warns(UserWarning, match="no use of --picture_every=1: .*--validation_fraction or"):
        train.run(config(tmp_path, train_examples=32, **without))


def test_addons_optimizers_are_there_or_say_why_not(tmp_path):
    chosen = config(tmp_path, optimizer="tfa:LAMB", epochs=1)
    if KERAS_3:
        with pytest.raises(ImportError, match="TensorFlow Addons has ended"):
            train.run(chosen)
        assert not any(tmp_path.iterdir())
        return
    assert train.run(chosen)["steps"] == 2
    assert train.run(config(tmp_path, optimizer="tfa:LAMB", epochs=2))["steps"] == 4
    for name, message in (
        ("LAM", "Did you mean 'LAMB'"),
        ("SWA", "averages of the weights that nothing would use.*--ema"),
        ("COCOB", "cannot be made of a learning rate alone.*tfa:LAMB"),
    ):
        with pytest.raises(ValueError, match=message):
            train.run(config(tmp_path / "refused", optimizer=f"tfa:{name}"))
