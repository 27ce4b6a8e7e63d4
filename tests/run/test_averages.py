"""`--ema` averages the weights from those after the first step on, on both stacks."""

import numpy as np

from rlfat_tf.run import callbacks, train
from rlfat_tf.storage import checkpoint
from tests.runs import config


def test_the_average_of_a_run_is_that_of_its_weights(tmp_path, monkeypatch):
    trained = []
    original = callbacks.Checkpoints.on_train_batch_end

    def record(self, batch, logs=None):
        trained.append([v.numpy() for v in self.model.trainable_variables])
        original(self, batch, logs)

    accuracy = {"test_accuracy": 0.5, "test_adv_accuracy": 0.5}
    monkeypatch.setattr(callbacks.Checkpoints, "on_train_batch_end", record)
    monkeypatch.setattr(train, "evaluate_on_test", lambda *_: accuracy)
    train.run(config(tmp_path, method="standard", ema=0.5, train_steps=3, validation_fraction=0.0))
    average = trained[0]
    for weights in trained[1:]:
        average = [0.5 * old + 0.5 * new for old, new in zip(average, weights)]
    kept = checkpoint.load(tmp_path, "last").trainable_variables
    assert len(trained) == 3 and len(kept) == len(average)
    for variable, expected in zip(kept, average):
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-7)
