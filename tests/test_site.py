"""The site that mkdocs makes of docs/: its links, its look, its search."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from browser import opened, severe

ROOT = Path(__file__).parents[1]
PAGES = ("index", "your_own_city", "explore", "change", "reference/encoder")
MARKDOWN = [*sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md"))]
ADDRESS = re.compile(r"(?<![`\w])https?://[^\s)>`\"']+")


def without_code(text):
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def test_lists_begin_after_an_empty_line():
    """GitHub takes them otherwise, too; the site makes a paragraph of them."""
    for path in MARKDOWN:
        before = ""
        for line in without_code(path.read_text(encoding="utf-8")).split("\n"):
            begins = line.startswith("- ") and not before.startswith(("- ", " "))
            assert not (begins and before.strip()), (path, line)
            before = line


def test_addresses_have_a_host_and_no_end_of_a_sentence():
    for path in MARKDOWN:
        for address in ADDRESS.findall(without_code(path.read_text(encoding="utf-8"))):
            host = r"https?://[\w-]+(\.[\w-]+)+(:\d+)?(/|$)"
            assert re.match(host, address), (path, address)
            assert address[-1] not in ".,;:", (path, address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stdout + done.stderr
    return folder


class _Loaded(HTMLParser):
    """What a page loads by itself."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(values.get("href"))
        elif tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(values.get("src"))


@pytest.mark.slow
def test_nothing_is_loaded_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        loaded = _Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        for address in filter(None, loaded.addresses):
            assert not re.match(r"(https?:)?//", address), (page, address)


@pytest.mark.slow
def test_every_page_of_the_reference_has_entries(site):
    for page in (ROOT / "docs/reference").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        html = (site / "reference" / f"{page.stem}.html").read_text(encoding="utf-8")
        for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
            assert f'id="{name}' in html, name


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_read_the_pages(browser, site, name, size, scheme):
    page = opened(browser, site / f"{name}.html", size=size, scheme=scheme)
    page.wait_for_selector("h1")
    assert severe(page) == {}
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]
    page.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_search_works_on_a_page_that_lies_on_a_disk(browser, site, size):
    page = opened(browser, site / "faq.html", size=size)
    if size == "phone":
        page.click("label.md-header__button[for=__search]")
    page.wait_for_selector("iframe", state="attached")  # the search has begun
    page.click(".md-search__input")
    page.keyboard.type("conformal")
    page.wait_for_selector(".md-search-result__item", state="attached")
    assert "evaluation.html" in page.inner_html(".md-search-result__list")
    page.context.close()


def test_the_hook_turns_links_into_those_of_the_site():
    sys.path.insert(0, str(ROOT))
    from docs_site.hooks import linked, listing

    assert linked("[a](docs/faq.md#x) [b](LICENSE)", "README.md") == (
        "[a](faq.md#x) [b](source/LICENSE.md)"
    )
    assert linked("[a](../README.md#ten-words)", "docs/faq.md") == (
        "[a](index.md#ten-words)"
    )
    assert linked("[a](../faq.md) [b](https://a.org/x.md)", "docs/notes/text.md") == (
        "[a](../faq.md) [b](https://a.org/x.md)"
    )
    assert linked("[a](../configs/socal.py)", "docs/towers.md") == (
        "[a](source/configs/socal.py.md)"
    )
    assert listing("docs_site/hooks.py").count("````") == 2  # it holds three itself


def test_a_notebook_becomes_a_page(tmp_path, monkeypatch):
    import json

    from docs_site import hooks

    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    cells = [
        {"cell_type": "markdown", "source": ["# First city\n", "[x](../faq.md)"]},
        {
            "cell_type": "code",
            "source": ["print(1)"],
            "outputs": [
                {"output_type": "stream", "text": ["1\n"]},
                {"data": {"image/png": "aGk=", "text/plain": "<Figure>"}},
            ],
        },
        {"cell_type": "code", "source": [], "outputs": []},
    ]
    path = tmp_path / "docs/notebooks/first.ipynb"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"cells": cells}))
    made = hooks.notebook_pages(path)
    assert made["notebooks/first.md"] == (
        "# First city\n[x](../faq.md)\n\n```python\nprint(1)\n```\n\n"
        "```text\n1\n```\n\n![The picture that this cell draws](first_0.png)\n"
    )
    assert made["notebooks/first_0.png"] == b"hi"


def test_navigation_names_every_page_once():
    class Loader(yaml.SafeLoader):
        """Of a file that names a function of Python."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.load(text, Loader)["nav"]  # noqa: S506
    names = re.findall(r"'([\w/]+\.md)'", str(nav))
    assert len(set(names)) == len(names)
    stored = {
        str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")
    }
    listed = {name for name in stored if not name.startswith(("notes/", "notebooks/"))}
    made = {"index.md", "changelog.md", "contributing.md", "report_a_weakness.md"}
    assert set(names) == listed | made
