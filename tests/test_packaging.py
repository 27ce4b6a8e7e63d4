"""The wheel holds every package and every recipe."""

from __future__ import annotations

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def read_options() -> ConfigParser:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def test_setup_lists_every_package():
    listed = set(read_options()["options"]["packages"].split())
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for init in (ROOT / "rlfat_tf").rglob("__init__.py")
    }
    assert listed == found | {"rlfat_tf.flags"}


def test_recipes_are_data_not_a_package():
    assert list((ROOT / "flags").glob("*.cfg"))
    assert not list((ROOT / "flags").glob("*.py"))
