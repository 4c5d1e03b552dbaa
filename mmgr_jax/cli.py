"""Starts every command: reads flags and config, calls it, reports errors clearly."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from mmgr_jax import (
    config_files,
    endings,
    environment,
    parts,
    run_settings,
    settings,
    summary,
    terminal,
)
from mmgr_jax.devices.settings import DistributedSettings
from mmgr_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Configuration of the city, as FILE.py or FILE.py:variant; single keys are "
    "overridden by --config.KEY=VALUE, such as --config.data.batch_size=64.",
    lock_config=True,
)
SHORTCUTS = {
    "workdir": flags.DEFINE_string(
        "workdir", None, "Folder of the run; short for --config.workdir."
    ),
    "checkpoint": flags.DEFINE_string(
        "checkpoint",
        None,
        "Run or checkpoint folder to load; short for --config.checkpoint.",
    ),
}
_HELP = {"-h", "-?", "-help", "--help", "-helpshort", "--helpshort"}
_QUIET = flags.DEFINE_bool(
    "quiet",
    False,
    "Print the paths of the files that were written, one a line; without files the "
    "answer alone.",
)
_VERBOSE = flags.DEFINE_bool(
    "verbose",
    False,
    "Print when and where each line was written, what libraries log, and the traceback "
    "of an error.",
)
_LIBRARIES = ("absl", "jax", "orbax", "rasterio", "pyogrio", "matplotlib")
"""Their own lines are for --verbose."""


def run(
    command: Callable[[ConfigDict], object],
    usage: str,
    shortcuts: tuple[str, ...] = (),
    session: Callable[..., AbstractContextManager] | None = None,
    cpu_devices: int = 1,
    loads_jax: bool = False,
) -> None:
    """Parses the flags, loads the config and calls `command(config)`.

    An error that the user, a file or the machine caused ends it with one sentence and
    exit status 2; see `mmgr_jax.endings`.

    Args:
        command: The work of this entry point.
        usage: What `--help` says first: what the command does, with examples.
        shortcuts: Those of `SHORTCUTS` that the command can use.
        session: Context manager around the command, made from the section
            `distributed`.
        cpu_devices: Number of parts of the CPU, if the config does not set it.
        loads_jax: Whether the command needs JAX. A command with a session always does.
    """
    listed = (_CONFIG, _QUIET, _VERBOSE, *(SHORTCUTS[name] for name in shortcuts))
    _run(lambda: _call(command, session, cpu_devices, loads_jax), usage, listed)


def session(settings: DistributedSettings) -> AbstractContextManager:
    """The context of a command that runs in one or several processes; it loads JAX."""
    from mmgr_jax.devices import distributed

    return distributed.session(settings)


def run_without_config(
    command: Callable[[], object], usage: str, listed: Sequence[flags.FlagHolder]
) -> None:
    """Runs a command that needs no config; otherwise like `run`.

    Args:
        command: The work of this entry point.
        usage: What `--help` says first.
        listed: Flags of the command itself, for --help.
    """

    def call() -> None:
        if flags.FLAGS["config"].present:
            raise InputError("--config: this command reads no config. See --help.")
        _begin_log()
        command()

    _run(call, usage, (*listed, _QUIET, _VERBOSE))


def _run(
    call: Callable[[], object], usage: str, listed: Sequence[flags.FlagHolder]
) -> None:
    """Parses the flags and calls; `listed` stand in --help beside the command's own."""
    terminal.guard_output()
    atexit.register(gc.freeze)  # else Python looks for cycles for a second at the end
    sys.modules["__main__"].__doc__ = usage
    for flag in listed:
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])
    try:
        app.run(lambda _: call(), flags_parser=_parse)
    except KeyboardInterrupt:
        print("interrupted; nothing more was done.", file=sys.stderr)
        sys.exit(endings.INTERRUPTED)
    except Exception as error:
        message = endings.sentence(error)
        if message is None:
            raise
        if os.environ.get("MMGR_TRACEBACK") or flags.FLAGS["verbose"].value:
            traceback.print_exc()
        print(f"error: {message}", file=sys.stderr)
        sys.exit(endings.INPUT)


def _parse(argv: list[str]) -> list[str]:
    """Parses flags; a mistyped flag becomes an `InputError`."""
    app.define_help_flags()
    if _HELP & set(argv[1:]):  # absl's own would end as after an error
        app.usage(shorthelp=True, writeto_stdout=True)
        sys.exit(0)
    config_files.make_importable()
    argv = [_with_path(argument) for argument in argv]
    try:
        rest = _flags(argv)
    except InputError:
        raise
    except flags.Error as error:
        raise InputError(f"{_last_line(error)}. See --help.") from error
    except (KeyError, AttributeError) as error:  # an override of an unknown key
        raise InputError(
            _of_a_part(error)
            or f"--config has no key {_unknown_key(error)}. "
            "The keys with their defaults: docs/settings.md."
        ) from error
    except (TypeError, ValueError) as error:
        raise InputError(f"--config: {_last_line(error)}. See --help.") from error
    if len(rest) > 1:
        raise InputError(
            f"unexpected argument {rest[1]!r}: options are given as --name=value. "
            "See --help."
        )
    return rest


def _with_path(argument: str) -> str:
    """The argument; if it names a config, the path of that config."""
    flag, mark, name = argument.partition("=")
    if flag.lstrip("-") != "config" or not mark:
        return argument
    return f"{flag}={config_files.resolved(name)}"


def _flags(argv: list[str]) -> list[str]:
    """Parses flags; a Python error in a configuration is reported with file and line.

    Raises:
        InputError: If the configuration has such an error.
    """
    try:
        return flags.FLAGS(argv)
    except Exception as raised:
        error = _beneath(raised)
        place = _in_file(error)
        if place is None:
            raise
        if sentence := _of_a_part(error):
            raise InputError(f"{place}: {sentence}") from error
        raise InputError(
            f"{place}: {type(error).__name__}: {_last_line(error)}. The configuration "
            "is a Python file whose get_config() returns a ConfigDict; configs/ has "
            "examples."
        ) from error


def _beneath(error: BaseException) -> BaseException:
    """The error that a configuration raised first, before libraries raised it again."""
    cause: BaseException | None = error
    while cause is not None:
        if "Error whilst parsing config file" in str(cause) and cause.__context__:
            error = cause.__context__
        cause = cause.__context__
    return error


def _in_file(error: BaseException) -> str | None:
    """FILE:LINE where a configuration fails; None if the error came from elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    loads = [i for i, frame in enumerate(frames) if "config_flags" in frame.filename]
    if not loads:
        return None
    inside = [
        frame
        for frame in frames[loads[-1] + 1 :]
        if not re.search("<|ml_collections", frame.filename)
        and frame.filename not in (parts.__file__, settings.__file__)
    ]
    # The line of the file itself, not of what it calls: what it gives is at fault.
    for frame in reversed(inside):
        if frame.filename == inside[0].filename:
            return f"{frame.filename}:{frame.lineno}"
    if isinstance(error, SyntaxError):
        return f"{error.filename or 'the configuration'}:{error.lineno or 1}"
    return "the configuration" if "get_config" in str(error) else None


def _call(
    command: Callable[[ConfigDict], object],
    session: Callable[..., AbstractContextManager] | None,
    cpu_devices: int = 1,
    loads_jax: bool = False,
) -> None:
    _begin_log()
    config = _config()
    from mmgr_jax.data import remote  # NumPy: a mistyped flag is told without

    remote.begin(config)
    if session or loads_jax:
        environment.refuse_unknown_flags()
    with _within(session, config, cpu_devices) if session else nullcontext():
        command(config)


def _begin_log() -> None:
    """Sets up log lines as --quiet and --verbose say.

    With --quiet standard output is for paths: warnings go to standard error.

    Raises:
        InputError: If both are given.
    """
    if _QUIET.value and _VERBOSE.value:
        raise InputError("--quiet and --verbose: give one of them.")
    level = logging.WARNING if _QUIET.value else logging.INFO
    line = "%(asctime)s %(name)s: %(message)s" if _VERBOSE.value else "%(message)s"
    stream = sys.stderr if _QUIET.value else sys.stdout
    logging.basicConfig(level=level, format=line, stream=stream, force=True)
    summary.print_paths_alone(_QUIET.value)
    logging.getLogger().setLevel(level)
    if not _QUIET.value and isinstance(sys.stdout, terminal.Outlet):
        sys.stdout.show_pulse()
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(level if _VERBOSE.value else logging.ERROR)


def _within(
    session: Callable[..., AbstractContextManager], config: ConfigDict, cpu_devices: int
) -> AbstractContextManager:
    """The context of a command that compiles programs."""
    # Which of several processes this is, and so whether it may speak, is not known yet;
    # but none of several has a terminal.
    if sys.stdout.isatty():
        logging.info("%s: starting", config.city.name)
    from mmgr_jax.devices import (
        compilation,
        distributed,  # they load JAX
    )

    compilation.refuse_other_numbers()
    run = run_settings.read(config)
    compilation.use_cache(run.compilation_cache)
    distributed.use_cpu_devices(run.cpu_devices or cpu_devices)
    return session(
        settings.read(DistributedSettings, config.distributed, "distributed")
    )


def _config() -> ConfigDict:
    flag = cast(Any, flags.FLAGS["config"])  # of ml_collections: it knows its file
    if not (flag.present or flag.default):
        raise InputError(
            "--config is missing: name a configuration, such as "
            "--config=configs/toy_city.py. See --help."
        )
    try:
        _CONFIG.value.lock()
    except OSError as error:
        name = flag.config_filename
        raise InputError(
            f"--config={name}: this file cannot be read. Give a path from the folder "
            "you are in, such as --config=configs/toy_city.py."
        ) from error
    except AttributeError as error:
        name = flag.config_filename
        raise InputError(
            f"--config={name}: get_config() returns a {type(_CONFIG.value).__name__}, "
            "not a ConfigDict; begin from `configs.common.base`."
        ) from error
    for name, shortcut in SHORTCUTS.items():
        if shortcut.value:
            _CONFIG.value[name] = shortcut.value
    parts.check(_CONFIG.value)
    return _CONFIG.value


def _last_line(error: BaseException) -> str:
    """The sentence of an error, without the traceback that ml_collections adds."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("ValueError: ").rstrip(".")


def _of_a_part(error: BaseException) -> str | None:
    """The message of a config part about a key or value; None for another error."""
    inner: object = error
    while isinstance(inner, BaseException):
        if isinstance(inner, InputError):
            return str(inner)
        inner = inner.args[0] if inner.args else None
    return inner if isinstance(inner, str) and inner.startswith("config.") else None


def _unknown_key(error: Exception) -> str:
    """The misspelt key, and the existing key that is most similar to it."""
    text = str(error)
    key = re.search(r"\w+", text)
    nearest = re.search(r'Did you mean \\?"(\w+)', text)
    return repr(key.group() if key else text) + (
        f" (did you mean {nearest.group(1)!r}?)" if nearest else ""
    )
