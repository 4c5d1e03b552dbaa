"""Ways in which a file gets damaged, and what becomes of a command that reads it."""

import builtins
import contextlib
import io
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np

from mmgr_jax import endings

KINDS_OF_DAMAGE = (
    "flipped", "cut", "emptied", "swapped", "JSON value", "JSON type",
    "JSON field gone", "a folder", "no right", "deleted",
)  # fmt: skip
REFUSED, TOLD, SAME = "refused in a sentence", "told, older or made anew", "not used"
WRONG, TRACEBACK = "SILENTLY WRONG", "TRACEBACK"
OUTCOMES = (REFUSED, TOLD, SAME, WRONG, TRACEBACK)


def damage(path, how, rng, twin=None):
    """Damages a file; False where this one cannot be damaged so.

    Args:
        path: The file.
        how: One of `KINDS_OF_DAMAGE`.
        rng: Decides the place.
        twin: The same file of another run.
    """
    content = path.read_bytes()
    if how == "flipped" and content:
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == "cut" and content:
        changed = content[: rng.randrange(len(content))]
    elif how == "emptied" and content:
        changed = b""
    elif how == "swapped" and twin is not None and twin.is_file():
        changed = twin.read_bytes()
    elif how.startswith("JSON"):
        changed = _in_json(content, how, rng)
    else:
        path.unlink()
        if how == "a folder":
            path.mkdir()
        elif how == "no right":
            path.write_bytes(content)
        return how in ("a folder", "no right", "deleted")
    if changed is None or changed == content:
        return False
    path.write_bytes(changed)
    return True


def _in_json(content, how, rng):
    """The same JSON, or JSON lines, with one value other; None where it is neither."""
    try:
        lines = content.decode().splitlines() if content[:1] in b"{[" else []
        try:
            trees = [json.loads(content)] if lines else []
        except ValueError:
            trees = [json.loads(line) for line in lines]
    except ValueError:
        return None
    places = [place for tree in trees for place in _places(tree)]
    if not places:
        return None
    holder, key = rng.choice(places)
    value = holder[key]
    if how == "JSON field gone":
        del holder[key]
    elif how == "JSON type":
        holder[key] = rng.choice([None, [], {}, "text", 3, True, [1, 2]])
    elif isinstance(value, str):
        holder[key] = value[1:] if value else "other"
    elif isinstance(value, bool) or value is None:
        holder[key] = not value
    elif isinstance(value, (int, float)):
        holder[key] = value + 1
    else:
        holder[key] = type(value)()
    text = "\n".join(json.dumps(tree) for tree in trees)
    return (text + "\n").encode()


def _places(tree):
    """Every key of every mapping, and every place of every list."""
    keys = tree if isinstance(tree, dict) else range(len(tree))
    for key in list(keys):
        yield tree, key
        if isinstance(tree[key], (dict, list)):
            yield from _places(tree[key])


@contextlib.contextmanager
def no_right(path):
    """Within it Python cannot open a file; tests run as root, who may read all."""
    wanted, whole = os.path.realpath(path), (io.open, builtins.open, os.open)

    def refusing(opener):
        def opened(file, *arguments, **options):
            if not isinstance(file, int) and os.path.realpath(file) == wanted:
                raise PermissionError(13, "Permission denied", str(file))
            return opener(file, *arguments, **options)

        return opened

    io.open, builtins.open, os.open = map(refusing, whole)
    try:
        yield
    finally:
        io.open, builtins.open, os.open = whole


nothing = contextlib.nullcontext


def judge(run, expected, path, folder, told, *, input_of_user=False):
    """What becomes of a command that reads a damaged file.

    Args:
        run: () -> its result.
        expected: The result without the damage.
        path: The file.
        folder: Holds all that the command works on.
        told: () -> what the log says, as a list of warnings.
        input_of_user: Whether a whole file of another run is a proper thing to name,
            if that is told: the result is then that of the other file.

    Returns:
        One of `OUTCOMES`, and what was said.
    """
    try:
        found = run()
    except SystemExit as error:
        said = " ".join(told())
        return (REFUSED if error.code == endings.INPUT else TRACEBACK), said
    except Exception as error:
        said = endings.sentence(error)
        if said is None:
            return TRACEBACK, f"{type(error).__name__}: {error}"
        return REFUSED, said
    said = [line for line in told() if _names(line, path, folder)]
    if said and isinstance(found, dict) and "rows" in found:
        # Rows that are not as they were written lie in a file beside.
        kept = [row for row in expected["rows"] if row in found["rows"]]
        expected = {**expected, "rows": kept}
    if not same(found, expected) and not (said and input_of_user):
        return WRONG, " ".join(told())
    return (TOLD if said else SAME), " ".join(said)


def _names(line, path, folder):
    """Whether a line names the file, or a folder below `folder` that holds it."""
    holding = [place for place in path.parents if folder in place.parents]
    return any(str(place) in line for place in (path, *holding))


def same(first, second):
    """Whether two results hold the same values."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(
            same(first[key], second[key]) for key in first
        )
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, (np.ndarray, float)):
        return np.array_equal(first, second, equal_nan=True)
    return first == second


def table(counts):
    """The counts as a table in Markdown: a row a kind of file, a column an outcome."""
    rows = sorted({kind for kind, _ in counts})
    lines = ["| files | damaged | " + " | ".join(OUTCOMES) + " |", "|---" * 7 + "|"]
    for row in [*rows, "all"]:
        of = [
            sum(n for (kind, out), n in counts.items() if out == outcome
                and row in (kind, "all"))
            for outcome in OUTCOMES
        ]  # fmt: skip
        lines.append(f"| {row} | {sum(of)} | " + " | ".join(map(str, of)) + " |")
    return "\n".join(lines)


def seeded(variable):
    """A generator by a seed that is printed, or given in the environment."""
    seed = int(os.environ.get(variable, random.randrange(10**6)))
    print(f"seed {seed}")
    return random.Random(seed)


def fresh(template, folder):
    """A new copy of a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(template, folder))
