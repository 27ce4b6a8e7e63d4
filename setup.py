"""What setup.cfg cannot say: the README of a package index needs absolute links.

On an index there is no folder beside the README, so that a link to ``docs/training.md`` would lead
nowhere. In the repository and on the site relative links are the right ones, hence this one place
turns them round.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:)([^)\s]+)\)")


def absolute_links(text: str, repository: str) -> str:
    """Returns Markdown whose links to files of the repository are addresses.

    Args:
        text: The README.
        repository: Address of the repository on GitHub.
    """
    raw = repository.replace("github.com", "raw.githubusercontent.com")

    def address(match: re.Match[str]) -> str:
        picture, shown, target = match.groups()
        if target.startswith("#"):
            return match[0]
        shown = LINK.sub(address, shown)  # a picture may be what a link shows
        return f"{picture}[{shown}]({raw if picture else repository + '/blob'}/main/{target})"

    return LINK.sub(address, text)


def repository() -> str:
    """Returns the address of the repository, which setup.cfg holds."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config["metadata"]["url"]


if __name__ == "__main__":
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=absolute_links(readme, repository()),
        long_description_content_type="text/markdown",
    )
