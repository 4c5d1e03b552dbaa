"""Each preset has its page, and pages say what the table says."""

import re
import shlex
from pathlib import Path

import pytest
from absl import flags

from data_prep.fetch import presets, request

DOCS = Path(__file__).parents[2] / "docs"
PAGES = DOCS / "sources"


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_page_says_what_the_table_says(name):
    text = " ".join((PAGES / f"{name}.md").read_text().split())
    preset = presets.PRESETS[name]
    assert preset.licence.split(" (")[0].split(",")[0] in text
    assert preset.source.split(" (")[0].split(",")[0] in text
    assert preset.unit in text and preset.crs in text
    for collection in preset.collections:
        assert f"`{collection}`" in text
    day = preset.checked.isoformat() if preset.checked else "not yet"
    assert f"| tested | {day}" in text


def test_pages_are_of_presets_and_in_the_list():
    names = {path.stem for path in PAGES.glob("*.md")}
    assert names == set(presets.PRESETS)
    listed = (DOCS / "fetch.md").read_text()
    assert {name for name in names if f"(sources/{name}.md)" not in listed} == set()


@pytest.mark.parametrize("page", [*PAGES.glob("*.md"), DOCS / "fetch.md"], ids=str)
def test_commands_of_the_pages_are_understood(page, monkeypatch):
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    for name in ("string", "list", "enum", "float", "bool", "integer"):
        define = getattr(flags, f"DEFINE_{name}")
        monkeypatch.setattr(
            flags,
            f"DEFINE_{name}",
            lambda *given, define=define: define(*given, flag_values=values),
        )
    request.flags_of()
    text = page.read_text().replace("\\\n", " ")
    commands = re.findall(r"^python -m data_prep\.fetch .*$", text, re.MULTILINE)
    assert commands
    for command in commands:
        rest = values(["fetch", *shlex.split(command.partition("#")[0])[3:]])
        assert rest == ["fetch"], command
        for label in values["labels"].value:
            assert "=" in label
        values.unparse_flags()
