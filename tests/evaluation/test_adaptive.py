"""The inference transform under attacks that know of it and attacks that do not."""

import numpy as np
import pytest

from rlfat_tf import ATLD, PGDAT, attacks
from rlfat_tf.evaluation import adaptive
from rlfat_tf.evaluation.evaluate import evaluate
from rlfat_tf.evaluation.plan import make_plan
from rlfat_tf.evaluation.recognition import KnownClassifiers
from tests import reference
from tests.methods.test_atld import small_discriminator

IMAGES, _, _ = reference.images_and_labels(30, seed=1)
NET = reference.keras_net(seed=4)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)
ROBUST = ATLD(NET, discriminator=small_discriminator("float32"), epsilon=0.1)


@pytest.fixture(scope="module")
def found():
    plan = make_plan("pgd", 0.2, "linf", {"steps": 10})
    return adaptive.evaluate_forms(
        ROBUST, IMAGES, LABELS, plan, epsilon=0.05, batch_size=16, seed=0
    )


def test_without_a_transform_there_is_nothing_to_know(found):
    plain = found["atld-"]
    assert plain["clean_accuracy"] == 1
    assert plain["adaptive"] == plain["non_adaptive"]
    settings = {"attacks": "pgd", "epsilon": 0.2, "batch_size": 16, "steps": 10, "checked": False}
    alone = evaluate(NET, (IMAGES, LABELS), **settings)
    assert plain["adaptive"]["pgd"] == alone["attacks"]["pgd"]["robust_accuracy"] < 1


def test_an_attack_that_knows_is_the_stronger(found):
    for form in ("atld", "atld+"):
        results = found[form]
        assert results["adaptive"]["worst_case"] == results["adaptive"]["pgd"]
        assert results["adaptive"]["pgd"] <= results["non_adaptive"]["pgd"]
        assert results["adaptive"]["pgd"] < results["clean_accuracy"]


def test_an_attack_may_be_limited_to_the_first_examples():
    plan = make_plan({"pgd": attacks.FGSM(epsilon=0.2)}, None, "linf", {})
    few, first = (
        adaptive.evaluate_forms(
            ROBUST, IMAGES[:count], LABELS[:count], plan, epsilon=0.05, forms=["atld"], **how
        )["atld"]["adaptive"]
        for count, how in ((30, {"limits": {"pgd": 7}}), (7, {}))
    )
    assert few == first


def test_the_table(found):
    lines = adaptive.show_forms(found).splitlines()
    assert len(lines) == 7 and lines[0].split() == ["clean", "pgd", "worst_case"]
    assert lines[1].startswith("atld- non-adaptive") and "100.0%" in lines[1]


def test_forms_do_not_share_their_progress(tmp_path):
    known = KnownClassifiers(tmp_path, IMAGES)
    found = [
        [
            known.name_of(adaptive.transformed(ROBUST, 0.05, form, backward))
            for form in ("atld", "atld+")
            for backward in ("bpda", "smooth")
        ]
        for _ in range(2)
    ]
    assert len(set(found[0])) == 4 and found[0] == found[1]


def test_a_model_without_discriminator():
    with pytest.raises(ValueError, match="needs the discriminator of an ATLD run"):
        adaptive.transformed(PGDAT(NET, attack=attacks.LinfPGD()), 0.05, "atld")
