"""What one worker of tests/run/test_distribution.py does; run as a process of its own."""

import itertools
import json
import sys

import numpy as np
import tensorflow as tf


def main(result: str) -> None:
    from rlfat_tf.run import distribution

    strategy = distribution.make_strategy()  # by TF_CONFIG; before anything else

    from rlfat_tf import RLFATP, attacks, data
    from rlfat_tf.core import compat
    from rlfat_tf.core.compat import keras
    from tests import reference

    images, _, labels = reference.images_and_labels(53, seed=1)
    train = data.training_batches(
        data.Arrays(images[:37], labels[:37]),
        batch_size=8,
        seed=5,
        augment="flip",
        strategy=strategy,
    )
    test = data.evaluation_batches(data.Arrays(images[37:], labels[37:]), batch_size=8)
    with strategy.scope():
        several = strategy.num_replicas_in_sync > 1
        net = reference.keras_net(batch_norm=True, synchronized=several, seed=3)
        robust = RLFATP(
            net, attack=attacks.LinfPGD(epsilon=0.1, steps=2), block_shuffle="image", seed=4
        )
        robust.compile(optimizer=keras.optimizers.SGD(0.05), metrics=["accuracy"])
    history = robust.fit(
        train, steps_per_epoch=4, epochs=2, validation_data=test, verbose=0
    ).history
    evaluated = robust.evaluate(test, verbose=0, return_dict=True)

    # 13 of them: the replicas' parts of the last batch differ in size, and so do random starts.
    few = data.Arrays(images[40:], labels[40:])
    uneven = robust.evaluate(
        data.evaluation_batches(few, batch_size=8), verbose=0, return_dict=True
    )

    seen: list[list[int]] = []
    read: list[int] = []

    class Counted(data.Rows):
        """Counts what it reads."""

        def _gather(self, places):
            read.extend(places.tolist())
            return super()._gather(places)

    numbers = np.arange(37, dtype=np.uint8).reshape(37, 1, 1, 1)
    slices = data.training_batches(
        Counted(numbers, labels[:37]), batch_size=8, seed=5, augment="none", strategy=strategy
    )
    for batch, _ in itertools.islice(slices, 4):
        local = strategy.experimental_local_results(batch)
        seen.append(np.rint(255 * tf.concat(local, 0).numpy().ravel()).astype(int).tolist())
    report = {
        "history": {name: [float(v) for v in values] for name, values in history.items()},
        "evaluated": {name: float(value) for name, value in evaluated.items()},
        "uneven": float(uneven["accuracy"]),
        "seen": seen,
        "read": len(read),
        "chief": distribution.is_chief(strategy),
        "replicas": strategy.num_replicas_in_sync,
    }
    np.savez(result + ".npz", *[np.asarray(w) for w in compat.variables_of(net)])
    with open(result + ".json", "w", encoding="utf-8") as file:
        json.dump(report, file)


if __name__ == "__main__":
    main(sys.argv[1])
