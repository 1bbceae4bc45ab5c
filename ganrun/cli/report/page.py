"""The page as text: templates that escape whatever is put into them, one style, and one script, which the page's policy
names by its hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import ganrun
from ganrun.cli.report.curves import Panel, svg
from ganrun.disk import storage
from ganrun.disk.run_folder import now
from ganrun.ground import spell
from ganrun.ground.errors import BadInput

FOLDER = Path(__file__).with_name("page")
MARK = "<!-- written by ganrun report -->"


class Command(NamedTuple):
    """What to type, and why."""

    why: str
    text: str


def rendered(template: str, **content: Any) -> str:
    """The page of ``template`` with this content; everything in it is text, but for ``Markup``."""
    room = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    fixed = {
        "mark": Markup(MARK),
        "version": ganrun.__version__,
        "now": now(),
        "style": Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_hash": Markup(digest),
    }
    return room.get_template(template).render(**fixed, **content)


def drawn(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    """Panels as the template has them."""
    return [{"title": panel.title, "note": panel.note, "svg": Markup(svg(panel))} for panel in panels]


def write(path: Path, text: str) -> None:
    """Write the page; ``BadInput`` where something else than a report has the name."""
    demand_ours(path, MARK.encode())
    with storage.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    storage.write(path, text)


def demand_ours(path: Path, mark: bytes) -> None:
    """``BadInput`` where ``path`` is there and does not hold ``mark`` near its beginning: it is not ours to write over."""
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; give the name of a file in it")
    if path.is_symlink() or path.exists():
        held = b""
        if path.is_file():
            with storage.storage_errors(path), open(path, "rb") as file:
                held = file.read(4096)
        if mark not in held:
            raise BadInput(f"{spell.shown(path)}: is there already, and ganrun report did not write it. Choose another name")


def contents(named: Mapping[str, str], filled: Mapping[str, Any]) -> list[tuple[str, str]]:
    """[(id, name)] of the parts that have something in them."""
    return [(id, name) for id, name in named.items() if filled.get(id)]
