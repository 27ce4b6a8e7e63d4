"""Classes are numbered as a model numbers them, or the evaluation is refused."""

import numpy as np
import pytest

from rlfat_tf import data
from rlfat_tf.run import class_names


def of(names, labels, dtype=np.int64):
    none = np.zeros([1, 2, 2, 1], np.uint8)
    images = np.zeros([len(labels), 2, 2, 1], np.uint8)
    return data.from_arrays(none, [0], images, np.array(labels, dtype), class_names=names)


def test_classes_are_matched_by_name():
    names = ["b  c", "a", "d"]
    matched = class_names.match(of(["a", "b c"], [0, 1, 1]), names)
    assert matched.test.labels.tolist() == [1, 0, 0]
    assert matched.class_names == tuple(names) and matched.num_classes == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_a_class_that_the_model_does_not_know_is_named(dtype):
    known = class_names.match(of(["a", "e", "b"], [0, 2], dtype), ["b", "a"])  # none of e
    assert known.test.labels.tolist() == [1, 0]
    with pytest.raises(ValueError, match="learned: b, a; received some of e.*class_names.txt"):
        class_names.match(of(["a", "e"], [0, 1, 0], dtype), ["b", "a"])


def test_a_name_of_two_classes_tells_them_apart_only_where_all_names_are_the_same():
    birds = ["cat", "crane", "dog", "crane"]
    assert class_names.match(of(birds, [0, 1, 2, 3]), birds).test.labels.tolist() == [0, 1, 2, 3]
    for here, there in ((birds, birds[::-1]), (birds[:2], birds), (birds, birds[:3])):
        with pytest.raises(ValueError, match="several classes called crane. Give each a name"):
            class_names.match(of(here, [0, 1]), there)
        assert class_names.match(of(here, [0]), there).test.labels.tolist() == [there.index("cat")]


def test_fewer_classes_than_a_model_of_unknown_names_are_told(recwarn):
    for names in (["bird", "cat", "dog"], ["0", "1"], ["a", "b", "c", "d"]):
        class_names.warn_of_fewer(names, 3)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="3 classes apart and the data set has 2.*'cat', is taken"):
        class_names.warn_of_fewer(["cat", "dog"], 3)
