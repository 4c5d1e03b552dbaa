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
import time
import types
from pathlib import Path
from tempfile import TemporaryFile

ROOT = Path(__file__).parents[1]
IMPORTED = {
    False: ("numpy", "pydantic", "configs.common", "mmgr_jax.cli"),
    True: (
        "mmgr_jax.train.loop", "mmgr_jax.evaluation.mapping", "data_prep.build",
        "data_prep.check", "data_prep.city", "data_prep.fitting",
        "data_prep.records.estimate",
    ),
}  # fmt: skip
"""Without JAX, and with it; a fork of the latter has JAX's settings of its parent."""

CACHE = {
    "JAX_COMPILATION_CACHE_DIR": str,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": float,
}
"""What a fork sets by itself where it is another than the tests'."""

_servers = {}


def run(*arguments, cwd=ROOT, env=None, jax=True, timeout=400):
    """Runs `python *arguments` and waits for its end.

    Args:
        arguments: Of Python: `-m`, a module and its arguments, or `-c` and so on, or
            the path of a script and so on.
        cwd: Folder it runs in.
        env: Its environment; None: that of the tests.
        jax: Whether JAX and what imports it are loaded before. Variables that JAX reads
            as it is imported must then be those of the tests, but for `CACHE`.
        timeout: Seconds after which it is ended, by SIGALRM.

    Returns:
        What `subprocess.run` would: `returncode`, and `stdout` and `stderr` as text.
    """
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        options = dict(cwd=cwd, env=env, jax=jax, timeout=timeout)
        status = Process(arguments, stdout, stderr, **options).wait()
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, status, *texts)


class Process:
    """A program that runs beside the test; as `subprocess.Popen`, as far as it goes.

    Attributes:
        pid: Its number.
        returncode: How it ended; None while that is not known.
    """

    def __init__(
        self, arguments, stdout, stderr=None, *, cwd=ROOT, env=None, jax=True,
        timeout=600, session=False,
    ):  # fmt: skip
        """Starts it, with its output in open files, in a session of its own if asked.

        See `run` for the rest.
        """
        given = dict(os.environ if env is None else env)
        read = {key for key in {*given, *os.environ} if key.startswith("JAX_")}
        changed = {key for key in read if given.get(key) != os.environ.get(key)}
        late = changed - set(CACHE)
        assert not (jax and late), f"JAX would not read {late}: give jax=False"
        self._server, self.returncode = _server(jax), None
        self.pid = self._ask(
            arguments=[str(argument) for argument in arguments],
            cwd=str(cwd), env=given, timeout=timeout, session=session,
            cache={key: given[key] for key in changed if jax},
            output=[
                f"/proc/{os.getpid()}/fd/{file.fileno()}"
                for file in (stdout, stderr or stdout)
            ],
        )  # fmt: skip

    def _ask(self, **request):
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def poll(self):
        """How it ended; None: not yet."""
        if self.returncode is None:
            self.returncode = self._ask(ended=self.pid)
        return self.returncode

    def wait(self, timeout=float("inf")):
        """How it ended, a negative number by which signal; waits for that."""
        begin = time.monotonic()
        while self.poll() is None:
            if time.monotonic() - begin > timeout:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        """Sends one, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


def _server(jax):
    """The process that has imported; it is started once, and again if it ended."""
    server = _servers.get(jax)
    if server is None or server.poll() is not None:
        server = _servers[jax] = subprocess.Popen(
            [sys.executable, __file__, *IMPORTED[jax]],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        server.stdout.readline()  # until then, programs would not have begun
    return server


@atexit.register
def _end():
    for server in _servers.values():
        server.stdin.close()
        server.wait()


def _serve():
    """Answers lines of stdin; returns, in each fork, what it is to become."""
    answers = os.fdopen(os.dup(1), "w")
    print("ready", file=answers, flush=True)
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "ended" in request:
            pid, status = os.waitpid(request["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            flags = os.O_WRONLY | os.O_APPEND
            request["output"] = [os.open(path, flags) for path in request["output"]]
            answer = os.fork()
            if not answer:
                answers.close()
                return request
            for file in request["output"]:
                os.close(file)
        print(json.dumps(answer), file=answers, flush=True)
    return None


def _become(request):
    """Turns this process into the program that is asked for."""
    if request["session"]:
        os.setsid()
    signal.alarm(request["timeout"])
    for number, file in enumerate(request["output"], 1):
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    for key, value in request["cache"].items():
        importlib.import_module("jax").config.update(key.lower(), CACHE[key](value))
    how, program, *arguments = request["arguments"]
    folders = request["env"].get("PYTHONPATH", "").split(os.pathsep)
    if how not in ("-m", "-c"):
        how, program, arguments = "script", how, [program, *arguments]
    first = {"-m": request["cwd"], "-c": ""}.get(how, os.path.dirname(program))
    sys.path[0:1] = [first, *(folder for folder in folders if folder)]
    sys.argv = [program if how == "script" else how, *arguments]
    if how == "script":
        runpy.run_path(program, run_name="__main__")
    elif how == "-m":
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
