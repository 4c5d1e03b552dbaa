"""Fills in the template of a config line by line; questions go above their lines."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from data_prep.first_config.answers import Answer, Answers, Written
from data_prep.first_config.labels import LabelFacts

_WIDTH = 88
_LINE = re.compile(
    r"^( *)(NAME|CRS|MACHINE|LARGEST_BATCH|c\.[\w.]+) = (.*?)(?:  # (.*))?$"
)
_LABELS = re.compile(
    r"(    # ---- labels.*?----\n).*?(?=\n    # ---- blocks)", re.DOTALL
)
_RAW = re.compile(r"^RAW = .*\n", re.MULTILINE)
_DOCSTRING = re.compile(r'^""".*?"""', re.DOTALL)
_OPENING = '''"""{name}: filled in by `python -m mmgr_jax.init` from what the files say.
{asks}
What a build would do, what training would take, and the first map:

    python -m data_prep.build --config={out} --dry_run
    python -m mmgr_jax.main --config={out} --dry_run
    python -m mmgr_jax.main --config={out}

Variants for other machines than `MACHINE`, behind the path and a colon: laptop, gpu,
pod, paper, and those of configs/recipes.py.
"""'''
_ASKS = """
Lines under `# ASK:` hold a guess, or nothing: only you can say. Answer them first.
"""


def fill(
    template: str,
    *,
    name: str,
    out: str,
    answers: Answers,
    labels: Sequence[LabelFacts],
) -> str:
    """Returns the text of a config.

    Args:
        template: The text of configs/my_city.py.
        name: Name of the city.
        out: Path of the config.
        answers: The known settings.
        labels: The facts of each label.

    Returns:
        The template with these settings; comments of the template stay where the files
        say nothing.
    """
    has_asks = any(own.ask for own in answers.values())
    has_asks = has_asks or any(label.questions for label in labels)
    opening = _OPENING.format(name=name, out=out, asks=_ASKS if has_asks else "")
    text = _DOCSTRING.sub(lambda _: opening, template, count=1)
    text = _RAW.sub("", text)
    text = text.replace('"""My city for', f'"""{name} for')
    block = "".join(f"{line}\n" for label in labels for line in label_lines(label))
    if not labels:
        block = "    # (none: embeddings and a map of their clusters)\n"
    text = _LABELS.sub(lambda match: match.group(1) + block, text, count=1)
    known = answers | {"NAME": Answer(name)}
    lines = []
    for line in text.split("\n"):
        match = _LINE.match(line)
        answer = known.get(match.group(2)) if match else None
        if match and answer:
            lines += _filled(match, answer)
        else:
            lines.append(line)
    return "\n".join(lines)


def label_lines(label: LabelFacts) -> list[str]:
    """Returns the lines of a label; comments where a build could not read the label."""
    lines = [f"c.labels.{label.name} = common.{label.factory}("]
    lines.append(f"    {code(label.path)},")
    for key, value in label.given.items():
        plain = f"    {key}={code(value)},"
        if len(plain) + 4 > _WIDTH and isinstance(value, tuple):
            lines += [f"    {key}=(", *(f"        {code(item)}," for item in value)]
            plain = "    ),"
        lines.append(plain)
    lines.append(")")
    start = "    " if label.usable else "    # "
    asked = [line for text in label.questions for line in _asked(text, "    ")]
    return [*asked, *(start + line for line in lines)]


def code(value: Any) -> str:
    """Returns a value as Python code."""
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        inner = ", ".join(map(code, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _filled(match: re.Match[str], answer: Answer) -> list[str]:
    indent, key, _, comment = match.groups()
    lines = _asked(answer.ask, indent) if answer.ask else []
    line = f"{indent}{key} = {code(answer.value)}"
    comment = " ".join((answer.why or comment or "").split())
    if comment and len(line) + len(comment) + 4 > _WIDTH:
        lines += textwrap.wrap(
            comment,
            _WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
        )
        return [*lines, line]
    return [*lines, f"{line}  # {comment}" if comment else line]


def _asked(text: str, indent: str) -> list[str]:
    """A question above its line."""
    return textwrap.wrap(
        f"ASK: {' '.join(text.split())}",
        _WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )
