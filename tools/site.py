"""Hooks of the site (mkdocs.yml): pages that are made of other files, and links out of ``docs/``.

The pages of ``docs/`` are read in the repository too, where ``../results/x.json`` is a file beside
them. On the site such a link leads to the repository.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
# Files of the repository that are pages of the site, by the name of the page.
PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "examples/quickstart.md": "examples/quickstart.ipynb",
    "examples/evaluate_your_model.md": "examples/evaluate_your_model.ipynb",
}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that lie elsewhere in the repository."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".ipynb"):
            text = "\n\n".join(_cells(json.loads(text)))
        text = with_links(text, source, page, config["repo_url"])
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links to what is no page into links to the repository."""
    uri = page.file.src_uri
    return (
        markdown if uri in PAGES else with_links(markdown, f"docs/{uri}", uri, config["repo_url"])
    )


def with_links(text: str, source: str, page: str, repository: str) -> str:
    """Returns Markdown of a file of the repository with the links of a page of the site.

    Args:
        text: The Markdown; links in it are relative to its file, as they are in the repository.
        source: The file's path in the repository.
        page: The page's path on the site.
        repository: Address of the repository.
    """
    made_of = {file: name for name, file in PAGES.items()}

    def address(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        shown = made_of.get(path) or (path[5:] if path.startswith("docs/") else None)
        if shown is None:
            if path.startswith("results/studies/") and not (ROOT / path).exists():
                path = "results"  # of a study that has not been run yet
            if not (ROOT / path).exists():
                return match[0]  # which the build then names
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"]({repository}/{kind}/main/{path}{anchor})"
        if (ROOT / path).is_dir():
            shown += "/index.md"
        return f"]({posixpath.relpath(shown, posixpath.dirname(page) or '.')}{anchor})"

    return LINK.sub(address, text)


def _cells(notebook: dict[str, Any]) -> Iterator[str]:
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        yield text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
