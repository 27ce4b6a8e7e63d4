"""The code of README, docs and notebooks runs, or says why it does not.

A block is looked at by its language. `python` is run, the blocks of a page one after the other, on
a few small images and with little training. In blocks of `bash` or without a language the commands
of this library are parsed. `text` is what somebody sees. Any other block is marked by a comment
before it, `<!-- not run: reason -->`.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

import rlfat_tf
from rlfat_tf.core.compat import keras
from rlfat_tf.run import cli
from rlfat_tf.run.eval_config import EvalConfig

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^(?:<!-- not run: ([^>]+) -->\n)?```(\w*)\n(.*?)^```", re.S | re.M)
SHELL = ("", "bash")
# What makes an example quick; each is a length, and none of them what the example is about.
QUICK = {
    r"\b(epochs|EPOCHS)( ?= ?)\d+": r"\1\g<2>1",
    r"steps_per_epoch=\d+": "steps_per_epoch=2",
    r"\bsteps=(?:20|40|100)\b": "steps=2",
    r"BUDGET = [\d.]+": "BUDGET = 0.01",
    r"\bAutoAttack\((epsilon=[^,)]+)": r'AutoAttack(\1, version="custom", attacks=["apgd_ce"]',
    r'(attacks=\["apgd_ce"\])\)': r"\1, budget=0.02)",
    r'"pgd,(autoattack|cw)"': '"fgsm"',
    r"samples=\d+": "samples=2",
}


class Block(NamedTuple):
    page: str
    reason: str
    language: str
    code: str


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return [Block(page, "", "python", "".join(cell["source"])) for cell in cells]
    return [Block(page, *found) for found in BLOCK.findall(text)]


PAGES = [
    str(path.relative_to(ROOT))
    for path in [
        *ROOT.glob("*.md"),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").glob("*.ipynb")),
    ]
]
BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = list(dict.fromkeys(b.page for b in BLOCKS if b.language == "python" and not b.reason))


def commands(code: str) -> list[list[str]]:
    """The commands of a block, each as its words."""
    lines = code.replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    parts = [re.split(r"\0&&\0|\0;\0", "\0".join(words)) for words in found if words]
    return [part.split("\0") for line in parts for part in line]


def arguments(command: list[str]) -> tuple[str, list[str]] | None:
    """Which program of ours a command starts, and its arguments; None if none."""
    programs = {
        "train.py": "train",
        "eval.py": "eval",
        "rlfat-train": "train",
        "rlfat-eval": "eval",
    }
    for place, word in enumerate(command[:2]):
        if Path(word).name in programs:
            return programs[Path(word).name], command[place + 1 :]
    return None


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS}))
def test_commands_parse_and_other_blocks_say_why_they_do_not_run(page):
    for block in blocks(page):
        if block.reason or block.language in ("python", "text"):
            continue
        assert block.language in SHELL, f"{page}: what is a block of {block.language}?"
        ours = [arguments(command) for command in commands(block.code)]
        assert any(ours), f"{page}: mark it as text, or say why it is not run:\n{block.code}"
        for program, words in filter(None, ours):
            values = cli.new_values()
            parse = cli.parse
            if program == "eval":
                values, parse = flags.FlagValues(), cli.parse_eval
                cli.define_flags(EvalConfig, values)
            assert parse(["", *words], values)[1] == [], (page, words)


@pytest.fixture
def quick(monkeypatch, tmp_path, trained):
    """Little data, two devices, no checks of evaluations, a trained run where pages have one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("digits_rlfat_p", "digits_pgdat", "folder_photos_pgdat"):
        (tmp_path / "runs" / name).symlink_to(trained.folder)
    few = functools.partial(rlfat_tf.data.load, train_examples=128, test_examples=12)
    monkeypatch.setattr(rlfat_tf.data, "load", few)
    unchecked = functools.partial(rlfat_tf.evaluation.evaluate, checked=False)
    monkeypatch.setattr(rlfat_tf.evaluation, "evaluate", unchecked)
    monkeypatch.setattr("rlfat_tf.evaluation.autoattack.evaluate", unchecked)
    two = functools.partial(tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", two)


@pytest.mark.current
@pytest.mark.parametrize("page", RUN)
def test_python_runs(page, quick):
    keras.utils.set_random_seed(0)
    test = rlfat_tf.data.load("digits").test
    net = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)], name="net"
    )
    known = {"rlfat_tf": rlfat_tf, "tf": tf, "np": np, "keras": keras}
    known.update(model=net, robust=rlfat_tf.PGDAT(net), images=test.images, labels=test.labels)
    for block in blocks(page):
        if block.language == "python" and not block.reason:
            code = block.code
            for pattern, shorter in QUICK.items():
                code = re.sub(pattern, shorter, code)
            exec(compile(code, page, "exec"), known)  # noqa: S102
    if page == "docs/tutorials/own_model.md":
        assert known["strategy"].num_replicas_in_sync == 2
        served = tf.saved_model.load("serving/1").signatures["serving_default"]
        assert served(images=tf.constant(test.images))["logits"].shape == (12, 10)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.stem)
def test_a_long_page_begins_with_its_contents(path):
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    headings = re.findall(r"^## (.+)$", prose, re.M)
    if len(text.splitlines()) > 120:
        contents = re.search(r"^\*\*On this page:\*\* (.+?)\n\n", text, re.S | re.M)
        assert contents, "list the sections in a paragraph **On this page:**"
        linked = re.findall(r"\]\(#([^)]+)\)", contents[1])
        anchors = [re.sub(r"[^\w\s-]", "", h.lower()).replace(" ", "-") for h in headings]
        assert linked == anchors


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_are_kept_without_their_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
