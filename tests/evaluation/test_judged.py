"""What is judged: the network, what trained it, the digest of its file."""

import hashlib

import pytest

from rlfat_tf import evaluation, methods
from rlfat_tf.evaluation.judged import digest_of, network_facts
from tests import reference

NET = reference.keras_net()
# Flatten, Dense(5), Dense(3).
COUNT = 60 * 5 + 5 + 5 * 3 + 3


@pytest.mark.parametrize("name", ["standard", "trades"])
def test_a_model_of_this_library_tells_its_method_and_attack(name):
    model = methods.METHODS[name](NET)
    model.compile(optimizer="sgd")
    facts = network_facts(evaluation.as_classifier(model))
    assert facts["network"] == NET.name and facts["parameters"] == COUNT
    assert facts["method"] == name
    if name == "standard":
        assert facts["training_attack"] is None
    else:
        assert "epsilon" in facts["training_attack"]


def test_other_classifiers_tell_what_they_can(tmp_path):
    assert network_facts(evaluation.as_classifier(NET)) == {
        "network": NET.name, "parameters": COUNT,
    }  # fmt: skip
    assert network_facts(evaluation.as_classifier(lambda x: x)) == {}


def test_the_digest_is_of_the_content_and_not_of_the_place(tmp_path):
    file = tmp_path / "a" / "net.keras"
    file.parent.mkdir()
    file.write_bytes(b"abc" * 1_000_000)
    assert digest_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder, name in zip(folders, ("x", "x", "y")):
        (folder / "variables").mkdir(parents=True)
        (folder / "variables" / name).write_bytes(b"1")
        (folder / "saved_model.pb").write_bytes(b"2")
    one, two, three = map(digest_of, folders)
    assert one == two != three
    (folders[1] / "saved_model.pb").write_bytes(b"3")
    assert digest_of(folders[1]) != one
