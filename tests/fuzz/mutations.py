"""What may go wrong with a file that a stranger made: bytes, texts, trees of values.

`mutate` changes one file of a folder. It takes files apart by what they are (archives,
images, databases: see `containers`) and puts them together again, so that damage
reaches what lies behind checksums and lengths.
"""

import json
import random
import re

import containers

NUMBERS = (
    "nan", "inf", "-inf", "1e999", "-1", "0", "-0.0", "1e-320", "1e308", "0x10", "1_0",
    "2147483648", "4294967295", "9223372036854775808", "9" * 30, "٣", "1,5", "", "181",
)  # fmt: skip
# {outside} is a file and {address} a server that nobody may ask for anything.
TEXTS = (
    "", " ", "\0", "\u202e", "x" * 50_000, "{outside}", "../../outside.tif", "NULL",
    "/vsicurl/{address}/a.tif", "{address}/crs", "/vsizip/{outside}", "=1+1", "None",
    "{", "[0]", "<a>", "&x;", "%s%n", "🏙" * 300, "a\nb", "EPSG:99999", "EPSG:4326",
    "EPSG:3857", "LOCAL_CS[\"x\"]", "Polygon", "\ud800",
)  # fmt: skip
VALUES = (
    None, True, False, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, float("nan"), "",
    float("inf"), [], {}, [[]], [None], "x", {"a": 1}, "DEEP", [0] * 1000,
)  # fmt: skip
INTEGERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
_TOKEN = re.compile(r'-?\d[\w.+-]*|"[^"\n]*"|\'[^\'\n]*\'|[^\W\d]\w*')
_DEEP = "[" * 20_000 + "]" * 20_000


class Mutator:
    """Changes files; the same for the same seed.

    Attributes:
        rng: Where all choices come from.
        places: What `{outside}` and `{address}` in `TEXTS` stand for.
    """

    def __init__(self, seed, places):
        self.rng = random.Random(seed)
        self.places = places

    def mutate(self, folder):
        """Changes one of the files below a folder; says which one and how."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = self.rng.choice(files)
        name = path.relative_to(folder).as_posix()
        how = self.rng.random()
        if how < 0.02 and len(files) > 1:
            path.unlink()
            return f"{name}: removed"
        if how < 0.04:
            path.write_bytes(self.rng.choice(files).read_bytes())
            return f"{name}: another file's bytes"
        content = path.read_bytes()
        times = 1 if self.rng.random() < 0.7 else self.rng.randint(2, 5)
        said = []
        for _ in range(times):
            content, how = self.mutated(content)
            said.append(how)
        path.write_bytes(content)
        return f"{name}: {', '.join(said)}"

    def mutated(self, content):
        """Other bytes in place of some, and what was done, in words."""
        if self.rng.random() < 0.6:
            for is_kind, change in containers.KINDS:
                if is_kind(content):
                    try:
                        return change(self, content), change.__name__
                    except Exception:  # mutated before, and no longer of its kind
                        break
            found = self.told(content)
            if found:
                return found
        return self.bytes(content), "bytes"

    def told(self, content):
        """Of a text."""
        try:
            text = content.decode("utf-8")
        except ValueError:
            return None
        if "\0" in text[:200]:
            return None
        if text.lstrip().startswith(("{", "[")) and self.rng.random() < 0.7:
            try:
                return self.json(text).encode("utf-8", "surrogatepass"), "json"
            except (ValueError, RecursionError):
                pass
        return self.text(text).encode("utf-8", "surrogatepass"), "text"

    def bytes(self, content):
        """Bytes changed, cut off, put in, taken out, doubled, or a huge number."""
        rng, found = self.rng, bytearray(content)
        place = rng.randrange(len(found) + 1)
        end = place + rng.choice((1, 2, 4, 8, 40, 300))
        kind = rng.randrange(8)
        if kind == 0:
            for _ in range(rng.randint(1, 6) if found else 0):
                found[rng.randrange(len(found))] = rng.randrange(256)
        elif kind == 1:
            del found[place:]
        elif kind == 2:
            found[place:place] = rng.randbytes(end - place)
        elif kind == 3:
            del found[place:end]
        elif kind == 4:
            found[place:place] = found[place:end]
        elif kind == 5:
            found[place:end] = bytes([rng.choice((0, 255))]) * len(found[place:end])
        elif kind == 6 and found:
            found[rng.randrange(min(len(found), 200))] ^= 1 << rng.randrange(8)
        else:
            number = rng.choice(INTEGERS)
            size = max(1, (number.bit_length() + 7) // 8)
            size = rng.choice([width for width in (1, 2, 4, 8) if width >= size])
            order = rng.choice(("little", "big"))
            found[place : place + size] = number.to_bytes(size, order)
        return bytes(found)

    def hostile_text(self):
        """A text that means something to somebody."""
        said = self.rng.choice(TEXTS)
        for name, place in self.places.items():
            said = said.replace(f"{{{name}}}", place)
        return said

    def value(self):
        """A value of another type, or out of bounds."""
        return self.hostile_text() if self.rng.random() < 0.2 else self._value()

    def _value(self):
        return self.rng.choice(VALUES)

    def text(self, text):
        """Words, numbers and lines changed, doubled or taken out."""
        rng = self.rng
        lines = text.splitlines(keepends=True) or [""]
        place = rng.randrange(len(lines))
        kind = rng.randrange(10)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(rng.randrange(len(lines) + 1), lines[place])
        elif kind == 2:
            other = rng.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        else:
            tokens = [token.span() for token in _TOKEN.finditer(lines[place])]
            if not tokens:
                return self.hostile_text() + text
            start, end = rng.choice(tokens)
            token = lines[place][start:end]
            new = self._other(token, text)
            lines[place] = lines[place][:start] + new + lines[place][end:]
        return "".join(lines)

    def _other(self, token, text):
        """What may stand in the place of a word or number."""
        how = self.rng.random()
        if how < 0.15:
            return ""
        if how < 0.3:  # a word from elsewhere in the file
            found = self.rng.choice(_TOKEN.findall(text))
            return found if found[:1] == token[:1] else found.strip("'\"")
        is_number = token[:1].isdigit() or token[:1] == "-"
        new = self.hostile_text()
        if is_number and how < 0.9:
            new = self.rng.choice(NUMBERS)
        quote = token[:1] if token[:1] in "'\"" else ""
        return f"{quote}{new}{quote}"

    def json(self, text):
        """A text of JSON, or of a value a line, with one value changed."""
        try:
            return self._dumped(self.tree(json.loads(text)))
        except ValueError:
            lines = text.splitlines()
            place = self.rng.randrange(len(lines))
            lines[place] = self._dumped(self.tree(json.loads(lines[place])))
            return "\n".join(lines) + "\n"

    def tree(self, tree):
        """Nested values with one of them removed, renamed, doubled or changed."""
        places = list(_places(tree))
        if not places:
            return self.value()
        holder, key = self.rng.choice(places)
        kind = self.rng.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[self.hostile_text()] = holder.pop(key)
        elif kind == 1:
            holder.append(holder[key])
        elif kind == 2:  # a value from elsewhere
            other, place = self.rng.choice(places)
            holder[key] = json.loads(json.dumps(other[place]))
        else:
            holder[key] = self.value()
        return tree

    def _dumped(self, tree):
        plain = self.rng.random() < 0.5
        text = json.dumps(tree, ensure_ascii=plain)
        return text.replace('"DEEP"', _DEEP)


def _places(tree):
    """Every holder and key below a value."""
    if not isinstance(tree, (dict, list)):
        return
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield tree, key
        yield from _places(value)
