"""The helper of a run: loaded, made anew where the run trains, and the same when it goes on."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from rlfat_tf import HAT, keras, load
from rlfat_tf.run import builders, helper, train
from rlfat_tf.run.workdir import with_absolute_paths
from rlfat_tf.storage.reading import Damaged
from tests.runs import config


def test_it_is_loaded_or_what_is_missing_is_said(trained, tmp_path):
    assert helper.load(config(tmp_path, method="trades")) is None
    advice = "Train one first.*--dataset=digits --method=standard"
    with pytest.raises(ValueError, match=f"--method=hat needs --helper_model. {advice}"):
        helper.load(config(tmp_path, method="hat"))
    with pytest.raises(ValueError, match=f"--helper_model: Expected .* nowhere exists. {advice}"):
        helper.load(config(tmp_path, method="hat", helper_model="nowhere"))
    found = helper.load(config(tmp_path, method="hat", helper_model=str(trained.folder)))
    best = trained.folder / "checkpoints" / "best.keras"
    assert found.digest == hashlib.sha256(best.read_bytes()).hexdigest()
    again = helper.in_this_scope(found)
    assert again is not found.model
    for one, other in zip(again.get_weights(), load(trained.folder).model.get_weights()):
        np.testing.assert_array_equal(one, other)
    with pytest.warns(UserWarning, match="makes no use of --helper_model"):
        builders.warn_of_ignored_flags(config(tmp_path, method="pgdat", helper_model="any"))


def test_a_run_does_not_go_on_with_another(tmp_path):
    one = helper.Helper(None, "a1" * 32)
    helper.check_same(tmp_path, one)
    helper.write_record(tmp_path, one)
    helper.check_same(tmp_path, one)
    helper.check_same(tmp_path, None)
    other = one._replace(digest="b2" * 32)
    with pytest.raises(ValueError, match="another --helper_model.* a1a1.* this one has b2b2"):
        helper.check_same(tmp_path, other)
    assert one.fingerprint == 0xA1A1A1A1A1A1 != other.fingerprint
    for text in ("{", "[]", json.dumps({"sha": 1})):
        (tmp_path / "helper.json").write_text(text)
        with pytest.raises(Damaged, match="helper.json is damaged.*Remove it if the helper"):
            helper.check_same(tmp_path, one)


def test_a_run_with_a_helper(trained, tmp_path, monkeypatch):
    """Its path is kept absolute, its file as well in the checkpoint; changed, it is refused."""
    monkeypatch.chdir(trained.folder.parent)
    run = config(tmp_path, method="hat", helper_model=trained.folder.name, epochs=1)
    assert train.run(run)["steps"] == 2
    kept = json.loads((tmp_path / "config.json").read_text())["helper_model"]
    assert kept == str(trained.folder.resolve()) == with_absolute_paths(run).helper_model
    robust = load(tmp_path)
    assert type(robust) is HAT
    for one, other in zip(robust.helper_model.get_weights(), load(kept).model.get_weights()):
        np.testing.assert_array_equal(one, other)
    mine = tmp_path / "mine.keras"
    keras.Model(robust.model.inputs, robust.model.outputs).save(mine)
    with pytest.raises(ValueError, match="began with another --helper_model"):
        train.run(config(tmp_path, method="hat", helper_model=str(mine), epochs=2))
