"""Draws the README's first picture: ``python tools/draw_readme.py`` (two minutes on two cores).

``docs/pictures/adversarial.png`` shows what an attack does to an ordinary and to a robust
classifier of handwritten digits, both trained here.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import rlfat_tf
from rlfat_tf import keras

ROOT = Path(__file__).resolve().parents[1]
EPSILON, SHOWN = 0.1, 10
RIGHT, WRONG = "#1b7837", "#c51b29"


def classifier(image_shape: tuple[int, int, int]) -> keras.Model:
    """Returns the network of the README's example."""
    return keras.Sequential(
        [
            keras.Input(image_shape),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def draw_adversarial(path: Path) -> None:
    """Trains both classifiers and draws one test image of each class, clean and attacked."""
    data = rlfat_tf.data.load("digits")
    train = rlfat_tf.data.training_batches(data.train, batch_size=64, seed=0, augment="none")
    attack = rlfat_tf.attacks.LinfPGD(epsilon=EPSILON, steps=7)
    strong = rlfat_tf.attacks.LinfPGD(epsilon=EPSILON, steps=20, step_size=EPSILON / 10)
    chosen = [int(np.flatnonzero(data.test.labels == digit)[0]) for digit in range(SHOWN)]
    images, labels = data.test.images[chosen], data.test.labels[chosen]
    rows = [("clean", images, labels)]
    for name, make in (
        ("attacked,\nordinary", rlfat_tf.Standard),
        ("attacked,\nrobust", lambda net: rlfat_tf.PGDAT(net, attack=attack)),
    ):
        keras.utils.set_random_seed(0)
        model = make(classifier(data.image_shape))
        model.compile(optimizer=keras.optimizers.Adam(2e-3), metrics=["accuracy"])
        model.fit(train, steps_per_epoch=22, epochs=20, verbose=0)
        report = rlfat_tf.evaluation.evaluate(model, data.test, attacks="pgd", epsilon=EPSILON)
        print(name, report["clean_accuracy"], report["worst_case_accuracy"])
        attacked = strong(model, images, labels).numpy()
        rows.append((name, attacked, model.predict(attacked, verbose=0).argmax(axis=1)))
    figure, axes = plt.subplots(len(rows), SHOWN, figsize=(5.2, 2.2), dpi=220)
    for row, (name, shown, answers) in zip(axes, rows):
        row[0].text(-0.25, 0.5, name, transform=row[0].transAxes, ha="right", va="center")
        for axis, image, label, answer in zip(row, shown, labels, answers):
            axis.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=1)
            axis.axis("off")
            if shown is not images:
                colour = RIGHT if answer == label else WRONG
                axis.set_title(str(answer), color=colour, fontsize=11, weight="bold", pad=1.5)
    figure.subplots_adjust(left=0.19, right=0.995, top=0.98, bottom=0.01, hspace=0.42)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    folder = ROOT / "docs/pictures"
    folder.mkdir(exist_ok=True)
    draw_adversarial(folder / "adversarial.png")
