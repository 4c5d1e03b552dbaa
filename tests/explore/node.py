"""Functions of the page's modules, called from Python: Node runs them.

Typed arrays travel as bytes, so that every digit comes through. Machines without Node
skip the tests that need it; on CI that is a failure.
"""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measured import label_next

PAGE = Path(__file__).parents[2] / "mmgr_jax" / "explore" / "page"

TYPES = {
    "Float64Array": "<f8",
    "Float32Array": "<f4",
    "Int32Array": "<i4",
    "Int16Array": "<i2",
    "Uint32Array": "<u4",
    "Uint16Array": "<u2",
    "Uint8Array": "u1",
}

SERVER = """
import readline from "node:readline";
const TYPES = { Float64Array, Float32Array, Int32Array, Int16Array, Uint32Array,
  Uint16Array, Uint8Array };
const revive = (key, value) => {
  if (value && value.$array) {
    const bytes = Uint8Array.from(Buffer.from(value.bytes, "base64"));
    return new TYPES[value.$array](bytes.buffer);
  }
  if (value && value.$map) return new Map(value.$map);
  if (value && value.$number) return Number(value.$number);
  return value;
};
const plain = (key, value) => {
  if (ArrayBuffer.isView(value)) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return { $array: value.constructor.name, bytes: bytes.toString("base64") };
  }
  if (value instanceof Map) return { $map: [...value] };
  const isOdd = typeof value === "number" && !Number.isFinite(value);
  if (isOdd) return { $number: `${value}` };
  return value === undefined ? null : value;
};
for await (const line of readline.createInterface({ input: process.stdin })) {
  const { module, name, given } = JSON.parse(line, revive);
  let answer;
  try {
    const found = (await import(`./${module}.js`))[name];
    answer = { result: typeof found === "function" ? found(...given) : found };
  } catch (error) {
    answer = { error: `${error.name}: ${error.message}` };
  }
  console.log(JSON.stringify(answer, plain));
}
"""


class NodeError(Exception):
    """What a function threw."""


class Node:
    """A process that calls functions of modules."""

    def __init__(self, folder, node):
        for module in PAGE.glob("*.js"):
            shutil.copy(module, folder)
        (folder / "package.json").write_text('{"type": "module"}')
        (folder / "server.js").write_text(SERVER)
        self.process = subprocess.Popen(
            [node, "server.js"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __call__(self, module, name, *given):
        """A function's result, or a constant."""
        call = {"module": module, "name": name, "given": given}
        self.process.stdin.write(json.dumps(_plain(call), allow_nan=False) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline(), object_hook=_revived)
        if "error" in answer:
            raise NodeError(answer["error"])
        return answer["result"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


def started(folder):
    """A `Node`; skips the test, or fails on CI, where there is none."""
    node = label_next.node_program()
    if node is None:
        if os.environ.get("CI") == "true":
            pytest.fail("the tests of the page's modules take Node")
        pytest.skip("Node is not installed")
    return Node(folder, node)


def as_map(pairs):
    """A JavaScript Map."""
    return {"$map": [[key, value] for key, value in pairs]}


def _plain(value):
    """The same in JSON's types."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        name = next(n for n, dtype in TYPES.items() if value.dtype == np.dtype(dtype))
        flat = np.ascontiguousarray(value).tobytes()
        return {"$array": name, "bytes": base64.b64encode(flat).decode()}
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not np.isfinite(value):
        names = {"inf": "Infinity", "-inf": "-Infinity"}
        return {"$number": names.get(str(value), "NaN")}
    return value


def _revived(value):
    if "$array" in value:
        data = base64.b64decode(value["bytes"])
        return np.frombuffer(data, TYPES[value["$array"]])
    if "$map" in value:
        return {key: item for key, item in value["$map"]}
    if "$number" in value:
        return float(value["$number"].replace("Infinity", "inf"))
    return value
