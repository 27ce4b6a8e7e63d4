"""Some examples of a part: the first ones, or a sample that holds every class in proportion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rlfat_tf.core.errors import unknown
from rlfat_tf.data.source import Source

SUBSETS = ("first", "stratified")


def stratified(labels: npt.ArrayLike, count: int, seed: int = 0) -> np.ndarray:
    """Returns which examples a stratified sample consists of: a function of the arguments alone.

    Within each class the examples are put in a random order. The r-th of the n_k examples of a
    class (r = 0, 1, ...) stands at (r + 1/2) / n_k, classes at one place in a random order, and the
    first ``count`` are taken. So every class has its share, to within one example and nearly always
    (they are the seats that Sainte-Lague's rule gives), and with the same seed a smaller sample is
    part of a larger one.

    Args:
        labels: Integers [n].
        count: How many examples, from 1 to n.
        seed: Of NumPy's ``RandomState``, whose draws are the same in every version.

    Returns:
        Their numbers in ascending order, int64 [count].

    Raises:
        ValueError: If there are not so many examples.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not 1 <= count <= len(labels):
        raise ValueError(
            f"Expected a number of examples from 1 to {len(labels)}, as many as there are labels; "
            f"received {count}."
        )
    random = np.random.RandomState(seed)
    order = random.permutation(len(labels))
    _, classes, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    turn = random.permutation(len(sizes))[classes]
    by_class = np.argsort(classes, kind="stable")
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.lexsort((turn, (2 * rank + 1) / (2 * sizes[classes])))[:count]
    return np.sort(order[chosen])


def subset(source: Source, count: int, how: str = "stratified", seed: int = 0) -> Source:
    """Returns some of the examples of a part, in their order.

    Args:
        source: The examples, for instance ``data_set.test``.
        count: How many.
        how: ``"first"``, which is right where their order is a random one, or ``"stratified"``, see
            :func:`stratified`, which is right in any order.
        seed: Of the stratified sample.

    Raises:
        ValueError: If there is no such way, or there are not so many examples.
    """
    if how not in SUBSETS:
        raise unknown("way to choose examples", how, SUBSETS)
    if how == "stratified":
        return source.take(stratified(source.labels, count, seed))
    if not 1 <= count <= len(source):
        raise ValueError(f"Expected 1 to {len(source)} examples; received {count}.")
    return source.take(slice(count))
