"""Hook of mkdocs.yml: a link that leaves docs/, such as one to a module, leads in the site to a copy of that file.

On GitHub the same link opens the file itself. A link to a file that is not there stays as it is, and ``mkdocs build --strict``
refuses it. A page of docs/howto/ that the navigation of mkdocs.yml does not name is put at the end of its section.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
COPIES = "source"  # the folder of the site where they lie
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """The configuration with every page of docs/howto/ in its section."""
    (section,) = (entry["How to"] for entry in config.nav if "How to" in entry)
    named = {page for entry in section for page in entry.values()}
    there = {f"howto/{page.name}" for page in (ROOT / "docs" / "howto").glob("*.md")}
    section += sorted(there - named)
    return config


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """The page's text with its links out of docs/ replaced, and the files that they lead to added to the site."""
    here = posixpath.dirname(page.file.src_uri)

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", here, link[1]))
        if target.startswith(("docs/", "..")) or not (ROOT / target).is_file():
            return link[0]
        copy = f"{COPIES}/{target}.txt"  # a browser shows text, and would keep a .py
        if files.get_file_from_path(copy) is None:
            files.append(File.generated(config, copy, abs_src_path=str(ROOT / target)))
        return f"]({posixpath.relpath(copy, here or '.')})"

    return LINK.sub(replaced, markdown)
