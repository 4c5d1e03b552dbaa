"""Readers that do what none may do, so that the worker can be seen to notice it."""

import ctypes
import os
import socket
import time
from types import SimpleNamespace

import worker

from mmgr_jax.errors import InputError


def _write(folder):
    (folder / "a.txt").write_text("1,2,3\n")


def _only_damaged(act):
    """Whole files are read without harm."""

    def read(folder):
        path = folder / "a.txt"
        if not path.exists() or path.read_bytes() != b"1,2,3\n":
            act(folder.parent)

    return SimpleNamespace(write=_write, read=read)


def _raise(error):
    raise error


def _takes_memory(_):
    kept = bytearray(6 << 30)
    kept[:] = b"x" * len(kept)


def _takes_time(_):
    start = time.process_time()
    while time.process_time() < start + worker.SECONDS + 0.6:
        pass


def _native(name, *arguments):
    return lambda folder: getattr(ctypes.CDLL(None), name)(
        str(folder / "outside" / "outside.tif").encode(), *arguments
    )


ACTS = {
    "raises": lambda _: _raise(KeyError("x")),
    "crashes": lambda _: os.abort(),
    "exits": lambda _: os._exit(3),
    "writes": lambda folder: (folder.parent / "a.txt").write_text("x"),
    "writes natively": _native("creat", 0o600),
    "reads outside": _native("open", os.O_RDONLY),
    "asks the network": lambda _: socket.create_connection(("127.0.0.1", 9)),
    "runs a program": lambda _: os.system("true"),
    "takes memory": _takes_memory,
    "takes time": _takes_time,
    "says nothing": lambda _: _raise(InputError("no")),
}
READERS = {name: _only_damaged(act) for name, act in ACTS.items()}
