"""Reads damaged files, one after another, and tells how each ended.

A process of its own, so that a crash is seen; see `test_fuzz`. By hand:

  python tests/fuzz/worker.py FOLDER SEED READER NUMBER END

FOLDER is empty; `FOLDER/case` holds the last input afterwards, `FOLDER/whole` what it
was. Each line that is printed is JSON: what is read now, or how it ended.
"""

import ctypes
import faulthandler
import importlib
import json
import os
import resource
import shutil
import socket
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [
    str(TESTS.parent), *map(str, (TESTS, TESTS / "data_prep", TESTS / "page"))
]  # fmt: skip

SECONDS = int(os.environ.get("MMGR_FUZZ_SECONDS", 10))  # of a processor
PATIENCE_S = 120  # on a clock
MEMORY_BYTES = 2 << 30
_IN_OPEN, _IN_CREATE = 0x20, 0x100
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen")
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink")


class Guard:
    """Sees what a reader must not do: write elsewhere, ask the network, run programs.

    Attributes:
        places: A file and an address outside, which nothing may open.
        seen: What was done.
    """

    def __init__(self, folder):
        self._folder = str(folder.resolve())
        outside = folder / "outside"
        outside.mkdir()
        (outside / "outside.tif").write_bytes(b"II*\0" + bytes(100))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        port = self._socket.getsockname()[1]
        self.places = {
            "outside": str(outside / "outside.tif"),
            "address": f"http://127.0.0.1:{port}",
        }
        self.seen = []
        libc = ctypes.CDLL(None)
        self._events = libc.inotify_init1(os.O_NONBLOCK)
        for place in (outside, folder):
            what = _IN_OPEN | _IN_CREATE if place == outside else _IN_CREATE
            libc.inotify_add_watch(self._events, str(place).encode(), what)
        self.told()
        sys.addaudithook(self._audit)

    def told(self):
        """What was done since the last time."""
        try:
            os.read(self._events, 1 << 16)
            self.seen.append("opened a file outside its folder, or made one there")
        except BlockingIOError:
            pass
        try:
            self._socket.accept()
            self.seen.append("asked the network")
        except BlockingIOError:
            pass
        seen, self.seen = self.seen, []
        return seen

    def _audit(self, event, arguments):
        if event.startswith("socket.connect") or event == "socket.getaddrinfo":
            self.seen.append(f"{event} {arguments[1:]}")
        elif event in _RUNS:
            self.seen.append(f"{event} {arguments[:1]}")
        elif event in _CHANGES or (event == "open" and _is_write(arguments)):
            path = arguments[0]
            if isinstance(path, (str, bytes, os.PathLike)) and self._is_outside(path):
                self.seen.append(f"{event} {path}")

    def _is_outside(self, path):
        place = os.path.realpath(os.fsdecode(path))
        mine = place.startswith((self._folder, "/dev/null"))
        return not mine or "/outside/" in place


def _is_write(arguments):
    return bool(len(arguments) > 2 and arguments[2] and arguments[2] & _WRITES)


def outcome(read, folder):
    """How a reader ended: "result", "refused", or what is wrong with how."""
    from mmgr_jax.errors import InputError

    try:
        read(folder)
    except InputError as error:
        said = str(error)
        if "memory does not suffice" in said:
            return "took too much memory"
        if "\n" not in said and not said.endswith((".", ")", "?", "`")):
            return f"no sentence: {said[-200:]}"
        return "refused"
    except MemoryError:
        return "took too much memory"
    except Exception:
        return traceback.format_exc()
    return "result"


def tell(**said):
    """A line for whoever listens."""
    print(json.dumps(said), file=sys.__stdout__, flush=True)


def attempt(read, case, guard):
    """How reading a folder ends, with what it did that it must not."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    guard.told()
    before, start = _status_bytes("VmHWM"), time.process_time()
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    found = outcome(read, case)
    faulthandler.cancel_dump_traceback_later()
    took, grown = time.process_time() - start, _status_bytes("VmHWM") - before
    wrong = guard.told()
    if took > SECONDS:
        wrong.append(f"took {took:.0f} s")
    if grown > MEMORY_BYTES:
        wrong.append(f"took {grown / 2**30:.1f} GiB")
    return "; ".join([found, *wrong]) if wrong else found


def main(folder, seed, names, first, end, module="readers"):
    """Damages the files of readers and reads them.

    Args:
        folder: An empty one, for all that is done.
        seed: Decides, with a reader's name and a number, how files are damaged.
        names: Of readers, separated by "|"; "": all.
        first: The first number of the first of them; others begin at 0.
        end: The number at which each ends.
        module: Where the readers are.
    """
    folder = Path(folder).resolve()
    folder.mkdir(exist_ok=True)
    readers = importlib.import_module(module).READERS
    tell(readers=list(readers))
    guard = Guard(folder)
    for variable, place in (("HOME", "home"), ("TMPDIR", "scratch")):
        (folder / place).mkdir()
        os.environ[variable] = str(folder / place)
    tempfile.tempdir = None
    os.chdir(folder / "home")
    warnings.simplefilter("ignore")
    first, end = int(first), int(end)
    for name in names.split("|") if names else readers:
        _read_damaged(name, readers[name], guard, folder, seed, range(first, end))
        first = 0


def _read_damaged(name, reader, guard, folder, seed, numbers):
    """One reader: its whole files first, then damaged ones."""
    import mutations

    whole, case = folder / "whole", folder / "case"
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir()
    reader.write(whole)
    for number in ("whole", *numbers):
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(whole, case)
        how = ""
        if number != "whole":
            own = zlib.crc32(f"{seed} {name} {number}".encode())
            how = mutations.Mutator(own, guard.places).mutate(case)
        tell(reader=name, case=number, how=how)
        tell(reader=name, case=number, outcome=attempt(reader.read, case, guard))
        if number == "whole":  # all is loaded that takes memory by itself
            most = _status_bytes("VmData") + 2 * MEMORY_BYTES
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _status_bytes(field):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(f"{field}:")[2].split()[0])


if __name__ == "__main__":
    sys.stdout = sys.stderr
    main(*sys.argv[1:])
