"""What is published: the wheel, the README on a package index, the citation, the container."""

from __future__ import annotations

import importlib.util
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from rlfat_tf.core.versions import VERSION

ROOT = Path(__file__).resolve().parents[1]
AT = "https://example.org/code"


def read_options() -> ConfigParser:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


@pytest.fixture(scope="module")
def setup():
    spec = importlib.util.spec_from_file_location("setup_of_the_package", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


@pytest.mark.parametrize(
    "given, expected",
    [
        ("[a](docs/a.md)", f"[a]({AT}/blob/main/docs/a.md)"),
        ("[a](docs/a.md#b-c)", f"[a]({AT}/blob/main/docs/a.md#b-c)"),
        ("![a](docs/a.png)", f"![a]({AT}/main/docs/a.png)"),
        ("[![a](b.png)](c.md)", f"[![a]({AT}/main/b.png)]({AT}/blob/main/c.md)"),
        ("[![a](https://b.org/c)](LICENSE)", f"[![a](https://b.org/c)]({AT}/blob/main/LICENSE)"),
        ("[a](https://b.org) [c](#d)", "[a](https://b.org) [c](#d)"),
        ("`f(x)[0]` (not a link)", "`f(x)[0]` (not a link)"),
    ],
)
def test_links_are_absolute_on_an_index(setup, given, expected):
    assert setup.absolute_links(given, AT) == expected


def test_no_link_of_the_readme_leads_into_a_folder_on_an_index(setup):
    readme = setup.absolute_links((ROOT / "README.md").read_text(), setup.repository())
    prose = re.sub(r"```.*?```", "", readme, flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    assert len(targets) > 10
    assert not [target for target in targets if not target.startswith(("https://", "#"))]


def test_versions_of_python_are_those_that_pip_accepts():
    options = read_options()
    named = re.findall(r":: 3\.(\d+)$", options["metadata"]["classifiers"], flags=re.M)
    assert options["options"]["python_requires"] == f">=3.{named[0]}"
    assert [int(minor) for minor in named] == list(range(int(named[0]), int(named[-1]) + 1))


def test_citation_names_this_version_and_place(setup):
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, flags=re.M)[1] == VERSION
    assert f'repository-code: "{setup.repository()}"' in citation


def test_container_has_what_it_copies_and_runs():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    code = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    assert code[:2] == [["ARG", "BASE=python:3.12-slim"], ["FROM", "${BASE}"]]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [name for line in code if line[0] == "COPY" for name in line[1:-1]]
    assert "rlfat_tf" in copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    scripts = read_options()["options.entry_points"]["console_scripts"]
    run = [line for line in lines if line.startswith("#   docker run")]
    assert [re.search(r" rlfat (\S+)", line)[1] for line in run] == ["rlfat-train", "rlfat-eval"]
    assert all(f"{name} = " in scripts for name in ("rlfat-train", "rlfat-eval"))


def test_pins_of_the_site_hold_what_its_extra_names():
    names = read_options()["options.extras_require"]["docs"].split()
    pinned = re.findall(r"^([\w-]+)==", (ROOT / ".ci/constraints-docs.txt").read_text(), flags=re.M)
    assert {name.partition("[")[0] for name in names} <= set(pinned)
