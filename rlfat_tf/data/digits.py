"""``digits``: scikit-learn's real handwritten digits, which need no download."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rlfat_tf.data.arrays import Arrays, DataSet
from rlfat_tf.data.reading import Options


def load(options: Options) -> DataSet:
    """Loads 1,437 training and 360 test images of 8x8 pixels.

    The split is fixed: of the examples sorted by class, every fifth is a test example. Both parts
    keep the original order.

    Args:
        options: ``data_dir`` and ``download`` are not used.

    Returns:
        Images float32 [N, 8, 8, 1] in [0, 1], multiples of 1/16: these 17 grey levels are no grey
        levels of 255, so that 8 bits would round them.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If more examples are wanted than there are.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The data set 'digits' comes with scikit-learn, which is not installed. "
            "Run: pip install scikit-learn"
        ) from error
    digits = load_digits()
    images = (digits.images[..., None] / 16.0).astype(np.float32)
    if options.image_size is not None:
        images = options.look(tf.constant(images)).numpy()
    everything = Arrays(images, digits.target)
    test = np.zeros(len(everything), bool)
    test[np.argsort(digits.target, kind="stable")[::5]] = True
    parts = {"train": everything.take(~test), "test": everything.take(test)}
    train, test_part = (
        arrays.take(slice(options.number(part, len(arrays)))) for part, arrays in parts.items()
    )
    return DataSet(train, test_part, 10, tuple(str(i) for i in range(10)))
