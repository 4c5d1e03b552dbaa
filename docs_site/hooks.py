"""What mkdocs does with this repository beyond its pages: see mkdocs.yml.

README.md becomes the first page. The other texts at the root become pages, too, and
so does each file of the program that a page links to. So every link of docs/ works on
the site as it does in the repository. Notebooks become pages as well.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
AT_THE_ROOT = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "report_a_weakness.md",
}
"""File at the root of the repository -> its page."""
LANGUAGES = {".py": "python", ".csv": "text", ".cff": "yaml", "": "text"}
"""Suffix of a file that is shown -> how its text is coloured."""
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills in the parts of the navigation that list what a folder holds."""
    lists = {
        "NOTES": sorted((ROOT / "docs/notes").glob("*.md")),
        "NOTEBOOKS": _notebooks(),
    }
    config.nav = _filled(config.nav, lists)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made of files outside docs/."""
    for name, page in AT_THE_ROOT.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=linked(text, name)))
    for name in sorted(_shown()):
        files.append(File.generated(config, _source(name), content=listing(name)))
    for path in _notebooks():
        for name, content in notebook_pages(path).items():
            files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(
    markdown: str, *, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Turns a page's links to files outside docs/ into links to their pages."""
    if page.file.generated_by:
        return markdown
    return linked(markdown, f"docs/{page.file.src_uri}")


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Gives the search, which is a dialog on phones, its name for screen readers."""
    return output.replace('role="dialog">', 'role="dialog" aria-label="Search">')


def linked(text: str, name: str) -> str:
    """A text of the repository with links that hold on the site.

    Args:
        text: Markdown, with links that are relative to `name`.
        name: File of the repository that the text is of, such as "docs/faq.md".

    Returns:
        The text; links to pages of docs/ are relative to the text's own page.
    """
    here = posixpath.dirname(_page(name))

    def on_site(link: re.Match) -> str:
        start, target, end = link.groups()
        if re.match(r"[a-z]+:", target):
            return link.group()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        return start + posixpath.relpath(_page(path), here or ".") + end

    return _LINK.sub(on_site, text)


def listing(name: str) -> str:
    """A page that shows a file of the repository."""
    path = ROOT / name
    text = path.read_text(encoding="utf-8").rstrip()
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    language = LANGUAGES.get(path.suffix, "text")
    return f"# {name}\n\n{fence}{language}\n{text}\n{fence}\n"


def notebook_pages(path: Path) -> dict[str, str | bytes]:
    """A notebook as a page and its pictures, by their names on the site."""
    page = f"notebooks/{path.stem}.md"
    made: dict[str, str | bytes] = {}
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif cell["cell_type"] == "code" and text:
            parts.append(f"```python\n{text}\n```")
            for output in cell["outputs"]:
                parts.append(_output(output, f"{page[:-3]}_{len(made)}.png", made))
    name = str(path.relative_to(ROOT))
    made[page] = linked("\n\n".join(part for part in parts if part) + "\n", name)
    return made


def _output(output: dict[str, Any], picture: str, made: dict[str, str | bytes]) -> str:
    """What a cell printed or drew; a picture is added to `made`."""
    data = output.get("data", {})
    if "image/png" in data:
        made[picture] = base64.b64decode("".join(data["image/png"]))
        return f"![The picture that this cell draws]({Path(picture).name})"
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{text}\n```" if text else ""


def _page(path: str) -> str:
    """Name on the site of a file of the repository."""
    if path in AT_THE_ROOT:
        return AT_THE_ROOT[path]
    if path.endswith(".ipynb"):
        return f"notebooks/{Path(path).stem}.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return _source(path)


def _source(name: str) -> str:
    return f"source/{name}.md"


def _shown() -> set[str]:
    """Files outside docs/ that a page links to."""
    pages = [*(ROOT / "docs").rglob("*.md"), *map(ROOT.joinpath, AT_THE_ROOT)]
    names = set()
    for page in pages:
        for _, target, _ in _LINK.findall(page.read_text(encoding="utf-8")):
            path = Path(posixpath.normpath(page.parent / target))
            if path.is_file() and path.is_relative_to(ROOT):
                names.add(path.relative_to(ROOT).as_posix())
    outside = {name for name in names if not name.startswith("docs/")}
    return {name for name in outside - set(AT_THE_ROOT) if name[-6:] != ".ipynb"}


def _notebooks() -> list[Path]:
    folders = (ROOT / "docs/notebooks", ROOT / "notebooks")
    return sorted(path for folder in folders for path in folder.glob("*.ipynb"))


def _filled(nav: Any, lists: dict[str, list[Path]]) -> Any:
    """The navigation with each name of a list replaced by its pages."""
    if isinstance(nav, list):
        entries = [_filled(entry, lists) for entry in nav]
        return [entry for entry in entries if entry and entry != {}]
    if isinstance(nav, dict):
        parts = {title: _filled(entry, lists) for title, entry in nav.items()}
        return {title: entry for title, entry in parts.items() if entry}
    if nav in lists:
        return [_page(path.relative_to(ROOT).as_posix()) for path in lists[nav]]
    return nav
