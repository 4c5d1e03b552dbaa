"""Programs as a user starts them, each a fork of one process that has the imports.

Importing takes 2 to 6 processor seconds a program, and most that are tested do little
else. A fork has its own flags, environment, folder, output and end, as any process has.
What is imported before is no part of a program's own start: tests/test_imports.py and
the programs that `subprocess` starts in other tests see to that.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path
from tempfile import TemporaryFile

ROOT = Path(__file__).parents[1]
IMPORTED = {
    False: ("numpy", "pydantic", "configs.common", "mmgr_jax.cli"),
    True: ("mmgr_jax.train.loop", "mmgr_jax.evaluation.mapping", "data_prep.build"),
}
"""Without JAX, and with it; a fork of the latter has JAX's settings of its parent."""

_servers = {}


def run(*arguments, cwd=ROOT, env=None, jax=True, timeout=400):
    """Runs `python *arguments`, which begin with -m or -c; waits for its end.

    Args:
        arguments: Of Python: `-m`, a module and its arguments, or `-c` and so on.
        cwd: Folder it runs in.
        env: Its environment; None: that of the tests.
        jax: Whether JAX and what imports it are loaded before. Variables that JAX reads
            as it is imported must then be those of the tests.
        timeout: Seconds after which it is ended, by SIGALRM.

    Returns:
        What `subprocess.run` would: `returncode`, and `stdout` and `stderr` as text.
    """
    given = dict(os.environ if env is None else env)
    jax_s = {key for key in {*given, *os.environ} if key.startswith("JAX_")}
    changed = {key for key in jax_s if given.get(key) != os.environ.get(key)}
    assert not (jax and changed), f"JAX would not read {changed}: give jax=False"
    server = _server(jax)
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        folder = f"/proc/{os.getpid()}/fd"
        request = dict(
            arguments=[str(argument) for argument in arguments],
            cwd=str(cwd), env=given, timeout=timeout,
            output=[f"{folder}/{file.fileno()}" for file in (stdout, stderr)],
        )  # fmt: skip
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        status = json.loads(server.stdout.readline())
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, status, *texts)


def _server(jax):
    """The process that has imported; it is started once, and again if it ended."""
    server = _servers.get(jax)
    if server is None or server.poll() is not None:
        server = _servers[jax] = subprocess.Popen(
            [sys.executable, __file__, *IMPORTED[jax]],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
    return server


@atexit.register
def _end():
    for server in _servers.values():
        server.stdin.close()
        server.wait()


def _serve():
    """Forks for each line of stdin; returns, in each fork, what that line asks for."""
    answers = os.fdopen(os.dup(1), "w")
    while line := sys.stdin.readline():
        request = json.loads(line)
        fork = os.fork()
        if not fork:
            answers.close()
            return request
        _, status = os.waitpid(fork, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    return None


def _become(request):
    """Turns this process into the program that is asked for."""
    signal.alarm(request["timeout"])
    for number, path in enumerate(request["output"], 1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    how, program, *arguments = request["arguments"]
    folders = request["env"].get("PYTHONPATH", "").split(os.pathsep)
    first = request["cwd"] if how == "-m" else ""
    sys.path[0:1] = [first, *(folder for folder in folders if folder)]
    sys.argv = [how, *arguments]
    if how == "-m":
        sys.modules.pop(program, None)  # run as the main module, not imported
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), main.__dict__)


def _end_as_python_does(request):
    """Ends this fork after it; but nothing is freed, which takes Python a second."""
    status = 0
    try:
        _become(request)
    except SystemExit as end:
        status = end.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # as in a program that is started there
    for module in sys.argv[1:]:
        importlib.import_module(module)
    atexit.unregister(_end)
    gc.freeze()
    if asked := _serve():
        _end_as_python_does(asked)
