"""Which epoch of a run is kept as the best."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rlfat_tf.methods import METHODS, Standard
from rlfat_tf.run import callbacks
from rlfat_tf.run.signals import Signals
from rlfat_tf.run.workdir import BEGINNING
from rlfat_tf.storage import checkpoint


@pytest.fixture
def select(tmp_path, monkeypatch):
    """Returns a function from a method and the accuracies of epochs to the best epoch."""

    def save(path, model):
        path.write_text(f"checkpoint of epoch {model.epoch}")

    monkeypatch.setattr(checkpoint, "save_model", save)
    monkeypatch.setattr(checkpoint, "save_state", lambda *_: None)

    def run(method, epochs, best=None):
        progress = {**BEGINNING, **(best or {})}
        keeper = callbacks.Checkpoints(tmp_path, progress, Signals(), batch_size=1, every=0)
        keeper.folder.mkdir(exist_ok=True)
        model = SimpleNamespace(
            optimizer=None, distribute_strategy=None, selected_by=method.selected_by
        )
        keeper.set_model(model)
        monkeypatch.setattr(keeper, "stop_if_asked", lambda: None)
        for model.epoch, scores in enumerate(epochs, len(epochs) if best else 0):
            logs = dict(zip(("val_accuracy", "val_adv_accuracy", "val_loss"), scores))
            logs = {name: value for name, value in logs.items() if value is not None}
            keeper.on_epoch_end(model.epoch, logs)
        kept = (keeper.folder / "best.keras").read_text()
        assert kept == f"checkpoint of epoch {progress['best_epoch']}"
        return progress["best_epoch"]

    return run


def test_adversarial_accuracy_selects_the_best_epoch_of_adversarial_training(select):
    assert select(METHODS["rlfat_p"], [(0.9, 0.1), (0.5, 0.4), (0.8, 0.3)]) == 1


def test_clean_accuracy_selects_where_the_method_has_no_attack(select):
    """Adversarial accuracy is 0 throughout, so that it would keep the first and worst epoch."""
    assert select(Standard, [(0.82, 0.0), (0.99, 0.0), (0.98, 0.0)]) == 1


@pytest.mark.parametrize("method", ["pgdat", "atld"])
def test_of_equal_epochs_the_other_accuracy_decides_and_then_the_later_wins(select, method):
    assert select(METHODS[method], [(0.7, 0.4), (0.8, 0.4), (0.6, 0.4)]) == 1
    assert select(METHODS[method], [(0.8, 0.4), (0.8, 0.4)]) == 1


def test_an_epoch_that_is_not_validated_does_not_compete(select):
    skipped = (None, None)
    assert select(METHODS["pgdat"], [skipped, (0.5, 0.4), skipped, (0.9, 0.3), skipped]) == 1


def test_an_epoch_whose_loss_is_not_finite_does_not_compete(select):
    broken = (0.9, 0.9, float("nan"))
    assert select(METHODS["pgdat"], [broken, (0.5, 0.4, 1.2), broken, (0.5, 0.3, 0.9)]) == 1


def test_the_best_of_a_backup_of_version_0_1_is_one_number(select):
    old = {"best": 0.5, "best_epoch": 0}
    assert select(METHODS["pgdat"], [(0.1, 0.5)], best=old) == 1
