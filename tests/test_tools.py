"""The scripts of tools/ that need no environment of their own."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.current
@pytest.mark.slow
def test_a_short_soak_reports_both_slopes_and_fails_above_its_limit(forks):
    """It is too short to say anything of the slopes themselves."""
    soak = forks.start("tools/soak.py", "--minutes=0.5", "--limit=-1000000")
    assert soak.wait() == 1, soak.output
    for what in ("epochs", "evaluations"):
        line = re.search(rf"(\d+) {what} in .* (\S+) MB at the end; slope \S+ MB/h", soak.output)
        assert line is not None, soak.output
        assert int(line[1]) >= 1 and 100 < float(line[2]) < 10_000
    assert "The slope of epochs and of evaluations is above -1000000.0 MB/h" in soak.output


def test_differences_of_converted_models():
    differences = runpy.run_path(str(ROOT / "tools" / "convert.py"))["largest_differences"]
    one = {"logits": np.array([[1.0, 2.0]]), "label": np.array([1])}
    assert differences(one, {**one, "logits": np.array([[1.0, 2.5]])}) == {
        "logits": 0.5,
        "label": 0,
    }
    assert np.isnan(differences(one, {**one, "logits": np.array([[1.0, np.nan]])})["logits"])
    with pytest.raises(SystemExit, match=r"label has shape \(1,\) before and \(2,\) after"):
        differences(one, {**one, "label": np.array([1, 1])})
    with pytest.raises(SystemExit, match="outputs are"):
        differences(one, {"logits": one["logits"]})
