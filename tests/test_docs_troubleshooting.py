"""The messages of docs/troubleshooting.md are those that the program gives."""

import ast
import functools
import re
from pathlib import Path

from mmgr_jax.command_line import COMMANDS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^- `([^`]+)`", PAGE, re.MULTILINE)
ANYTHING = "\N{HORIZONTAL ELLIPSIS}"


def template(node):
    """A text of the program, with the sign for anything in place of its values."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ANYTHING
    if isinstance(node, ast.JoinedStr):
        parts = "".join(template(part) for part in node.values)
        return re.sub(f"{ANYTHING}+", ANYTHING, parts)
    return ANYTHING


@functools.cache
def templates():
    """All texts of the program, once."""
    return frozenset(_templates())


def _templates():
    """All texts of the program but docstrings, which nobody is shown."""
    for folder in ("mmgr_jax", "data_prep"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            alone = {
                id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant | ast.JoinedStr):
                    if id(node) not in alone:
                        yield template(node)


def test_every_quoted_message_is_one_of_the_program():
    texts = {text for text in templates() if len(text) > 10}
    lost = [
        message
        for message in QUOTED
        if not any(message.rstrip(ANYTHING) in text for text in texts)
    ]
    assert not lost
    assert len(QUOTED) > 60


def test_a_message_that_has_changed_is_lost():
    (node,) = ast.parse('f"{path}: has no CRS"').body
    assert isinstance(node, ast.Expr)
    assert template(node.value) == f"{ANYTHING}: has no CRS"
    assert not any("has no CRS and never had" in text for text in templates())


def test_messages_stand_once_and_under_a_command():
    assert len(set(QUOTED)) == len(QUOTED)
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    named = {name for line in headings for name in re.findall(r"`(\w+)`", line)}
    assert named <= set(COMMANDS)
    rest = set(COMMANDS) - named
    assert rest == {
        "train",
        "views",
        "validate",
        "import_released",
        "category_embedding",
    }
