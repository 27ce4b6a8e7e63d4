"""`--ema` averages the weights of a run by the same recursion on both stacks."""

import numpy as np
import pytest

from rlfat_tf.run import callbacks, train
from rlfat_tf.storage import checkpoint
from tests.runs import config


@pytest.fixture
def trained(monkeypatch):
    """The weights after each step of a run; what is not looked at is left out."""
    found = []
    original = callbacks.Checkpoints.on_train_batch_end

    def record(self, batch, logs=None):
        found.append([v.numpy() for v in self.model.trainable_variables])
        original(self, batch, logs)

    accuracy = {"test_accuracy": 0.5, "test_adv_accuracy": 0.5}
    monkeypatch.setattr(callbacks.Checkpoints, "on_train_batch_end", record)
    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: accuracy)
    return found


def test_the_average_of_a_run_is_that_of_its_weights(tmp_path, trained):
    settings = {"method": "standard", "ema": 0.5, "validation_fraction": 0.0}
    # Epochs of three steps: the first two updates are copied, then d is 0.1 and 2 / 11.
    settings.update(train_steps=4, ema_warmup=0.7)
    train.run(config(tmp_path, **settings))
    average = trained[1]
    for decay, weights in ((0.1, trained[2]), (2 / 11, trained[3])):
        average = [decay * old + (1 - decay) * new for old, new in zip(average, weights)]
    kept = checkpoint.load(tmp_path, "last").trainable_variables
    assert len(trained) == 4 and len(kept) == len(average)
    for variable, expected in zip(kept, average):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-7)
