"""What a user can mistype: one clear message, exit status 2, nothing written."""

import json
import os
import re
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import forks
import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments):
    """Runs a command as a user does."""
    return forks.run("-m", *arguments, timeout=120)


TOY = "--config=configs/toy_city.py"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [TOY, "--config.data.batchsize=8"],
            "config.data.batchsize is unknown (did you mean 'batch_size'?); allowed ",
        ),
        ([TOY, "--config.data.batch_size=many"], "batch_size=many"),
        (
            [TOY, "--config.category_vectors.walks.per_poi=3"],
            "config.category_vectors.walks.per_poi was removed: vectors are learnt",
        ),
        ([TOY + ":big"], "variant 'big' is unknown; allowed: paper, recommended"),
        (["--config=configs/gotham.py"], "configs/gotham.py: this file cannot be read"),
        ([], "--config is missing"),
        ([TOY, "--confg=3"], "Unknown command line flag 'confg'"),
        ([TOY, "train"], "unexpected argument 'train'"),
    ],
)
def test_a_mistyped_command_line_ends_in_one_line(arguments, message):
    result = run("mmgr_jax.eval", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_eval_without_records_says_how_to_build(tmp_path):
    result = run("mmgr_jax.eval", TOY, f"--config.records.dir={tmp_path}")
    assert result.returncode == 2
    assert "python -m data_prep.build" in result.stderr


def test_eval_without_a_checkpoint_says_how_to_train(records_dir, tmp_path):
    result = run(
        "mmgr_jax.eval", TOY, f"--config.records.dir={records_dir}",
        f"--workdir={tmp_path / 'none'}",
    )  # fmt: skip
    assert result.returncode == 2
    assert "no checkpoint here" in result.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("module", ["main", "eval", "embed"])
def test_help_teaches(module):
    result = run(f"mmgr_jax.{module}", "--help")
    assert result.returncode == 0 and not result.stderr
    assert f"python -m mmgr_jax.{module} --config=configs/" in result.stdout
    assert "--config:" in result.stdout


FAILING = """
import numpy as np
from mmgr_jax import cli

def command(config):
    {failing}

cli.run(command, "Fails.")
"""


@pytest.mark.parametrize(
    ("failing", "message"),
    [
        ("raise MemoryError", "the memory does not suffice"),
        ("np.zeros(2**60, np.uint8)", "the memory does not suffice"),  # by NumPy
        (
            "raise ValueError('RESOURCE_EXHAUSTED: Out of memory while trying to')",
            "the memory does not suffice. .*microbatch_size",
        ),
        ("open('/dev/full', 'w').write('a' * 99999)", "a file: No space left.*Make"),
        ("open('.')", r"\.: Is a directory. Mend what is there"),
        ("open('a' * 999)", "File name too long. Mend what is there"),
    ],
)
def test_what_the_system_refuses_ends_in_one_line(failing, message):
    result = forks.run("-c", FAILING.format(failing=failing), TOY, jax=False)
    assert result.returncode == 2, result.stderr
    assert re.match(f"error: .*{message}", result.stderr), result.stderr
    assert "Traceback" not in result.stderr


CONFIGS = {
    "def get_config(:\n": "0.py:1: SyntaxError: invalid syntax",
    "def get_config():\n    return nothing\n": "1.py:2: NameError: name 'nothing'",
    "import nowhere\n": "2.py:1: ModuleNotFoundError: No module named 'nowhere'",
    "x = 1\n": "get_config",
    "def get_config():\n    return {}\n": "returns a dict, not a ConfigDict",
    "def get_config():\n    return None\n": "returns a NoneType, not a ConfigDict",
    "def get_config():\n    return {}['a']\n": "6.py:2: KeyError: 'a'",
    "def get_config():\n    return get_config()\n": "7.py:2: RecursionError",
    "\0": "SyntaxError: source code string cannot contain null bytes",
    "from ml_collections import ConfigDict\n"
    "def get_config():\n    return ConfigDict(dict(a=1))\n": "the config lacks a key",
}


FORKED = """
import json, os, sys
import pydantic, configs.common  # once for all
from mmgr_jax import cli

for name, *given in json.loads(sys.argv[1]):
    if not os.fork():
        sys.argv[1:] = [f"--config={name}", *given]
        told = open(name.split(".py")[0] + ".told", "w")
        os.dup2(told.fileno(), 2)
        cli.run(lambda config: config.regions, "Reads a key.")
    _, status = os.wait()
    with open(name.split(".py")[0] + ".status", "w") as stored:
        stored.write(str(os.waitstatus_to_exitcode(status)))
"""


def _run_forked(commands):
    """Status and what is said on stderr of each command: a config, then flags."""
    given = json.dumps([[str(part) for part in command] for command in commands])
    subprocess.run(
        [sys.executable, "-c", FORKED, given], cwd=ROOT, check=True, timeout=300
    )
    for config, *_ in commands:
        path = Path(str(config).split(".py")[0])
        status = path.with_suffix(".status").read_text()
        yield int(status), path.with_suffix(".told").read_text()


def test_a_configuration_that_fails_is_told_by_file_and_line(tmp_path):
    paths = [tmp_path / f"bad{index}.py" for index in range(len(CONFIGS))]
    for path, text in zip(paths, CONFIGS, strict=True):
        path.write_text(text)
    found = _run_forked([[path] for path in paths])
    for (status, told), message in zip(found, CONFIGS.values(), strict=True):
        assert status == 2 and message in told and "Traceback" not in told, told
        assert told.splitlines()[-1].startswith("error: ")


WRONG = {
    "eval.splts = ()": "config.eval.splts is unknown (did you mean 'splits'?)",
    "evl.splits = ()": "config.evl is unknown (did you mean 'eval'?)",
    "wrkdir = 'a'": "config.wrkdir is unknown (did you mean 'workdir'?)",
    "eval.certainty = dict(lvel=0.9)": "eval.certainty.lvel is unknown (did you mean ",
    "eval.num_folds = 'five'": "config.eval.num_folds='five'; allowed: an integer or N",
    "seed = 'one'": "config.seed='one'; allowed: an integer.",
    "readout.image = 'poled'": "config.readout.image='poled'; allowed: 'pooled' or 'st",
    "eval.protocols = ('svm',)": "config.eval.protocols=('svm',); allowed: 'linear', ",
    "eval.certainty.level = 1.5": "config.eval.certainty.level=1.5; allowed: less than",
    "category_vectors.walks.per_poi = 3": "category_vectors.walks.per_poi was removed",
    "category_vectors.skipgram.num_steps = 9": "category_vectors.skipgram was removed",
    "train.keep = 0": "config.train.keep=0; allowed: greater than or equal to 1.",
}
"""Keys, types, choices and bounds, each twice and more."""

CITY = """from configs import common
def get_config(variant=None):
    c = common.base("city", crs="EPSG:32633")
    variants = dict(wrong=wrong)
    return common.apply(c, common.parse_variants(variant, variants), variants)
def wrong(c):
    c.{wrong}
"""


def test_a_wrong_setting_is_told_by_file_and_line_or_by_key(tmp_path):
    """In a file, in a variant of it, and by a flag."""
    commands, expected = [], []
    for index, wrong in enumerate(WRONG):
        in_file, by_flag = tmp_path / f"file{index}.py", tmp_path / f"flag{index}.py"
        text = CITY.format(wrong=wrong)
        by_flag.write_text(text)
        commands.append([f"{by_flag}:wrong"])
        expected.append(f"error: {by_flag}:7: ")
        in_file.write_text(
            text.replace("    variants =", f"    c.{wrong}\n    variants =")
        )
        commands.append([in_file])
        expected.append(f"error: {in_file}:4: ")
    messages = [message for message in WRONG.values() for _ in "12"]
    found = list(_run_forked(commands))
    for (status, told), start, message in zip(found, expected, messages, strict=True):
        assert status == 2 and told.startswith(start) and message in told, told
        assert len(told.splitlines()) == 1
    flags = []
    for index, wrong in enumerate(WRONG):
        key, value = wrong.split(" = ")
        if "dict" not in value:
            flags.append([tmp_path / f"flag{index}.py", f"--config.{key}={value}"])
    for (status, told), (_, flag) in zip(_run_forked(flags), flags, strict=True):
        key, value = flag.removeprefix("--config.").split("=")
        assert status == 2 and told.startswith("error: "), told
        assert key.split(".")[0] in told and "Traceback" not in told, told
        assert len(told.splitlines()) == 1


FORMER = """from configs import common
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder
def get_config(variant=None):
    c = common.base("city", crs="EPSG:32633")
    common.recommended(c)
    if common.parse_variant(variant, ("small",)):
        c = common.run_local(c)
    c.toy_city = dict(out_dir="data/raw", seed=0)
    c.toy_city.region_size_m = 128.0
    c.ablation = dict(seeds=(0, 1))
    c.labels.people = common.count_label("a.tif", unit="persons")
    c.labels.people.year = 2020
    c.labels["zones"] = dict(kind="share", path="b.gpkg")
    c.model.image_encoder = dict(name="vit_small", patch=8)
    c.model.image_encoder.train = "last:1"
    c.model.poi_encoder = dict(name="attention", heads=2)
    c.data.max_pois, c.imagery.nodata, c.blocks.size_m = 30, 0, "auto"
    c.eval.tasks = ["people"]
    c.eval.tables = (("mine", "a.npz"), ("other", "b.npz"))
    c.eval.certainty = dict(num_resamples=20)
    c.eval.update(dict(num_folds=4, curves=dict(methods=())))
    c.readout = dict(image="stages", surroundings_m=(200,), groups="alike")
    c["embed"]["features"] = "both"
    c.checkpoint = "runs/other"
    c.loss.temperature = 1
    with c.unlocked():
        c.notes = "mine"
    return c
"""


def test_what_configs_of_the_former_version_do_works(tmp_path):
    path = tmp_path / "former.py"
    path.write_text(FORMER)
    flags = ["--config.eval.splits=('block',)", "--config.labels.people.year=2021"]
    (found,) = _run_forked([[path, *flags, "--config.eval.buffer_m=10"]])
    assert found == (0, "")
    (found,) = _run_forked([[f"{path}:small", "--config.model.image_encoder.patch=4"]])
    assert found == (0, "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"JAX_PLATFORMS": "bogus"}, "JAX_PLATFORMS is 'bogus'; allowed: what is"),
        ({"JAX_NUM_CPU_DEVICES": "abc"}, 'Invalid value "abc" for JAX flag'),
        (
            {"JAX_ENABLE_X64": "1"},
            "variable JAX_ENABLE_X64 makes JAX compute with True",
        ),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "no launcher that JAX knows tells which"),
    ],
)
def test_an_odd_environment_ends_in_one_line(given, message):
    code = (
        "from mmgr_jax import cli\n"
        "def session(settings):\n"
        "    from mmgr_jax.devices import distributed\n"
        "    return distributed.session(settings)\n"
        "def command(config):\n"
        "    import jax\n"
        "    jax.devices()\n"
        "cli.run(command, 'Asks.', session=session)\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    result = subprocess.run(
        [sys.executable, "-c", code, TOY, "--config.compilation_cache=off",
         "--config.cpu_devices=1"],
        cwd=ROOT, env=kept | {"JAX_PLATFORMS": "cpu"} | given,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr


ALL = [
    "main",
    "eval",
    "embed",
    "query",
    "ablation",
    "transfer",
    "convert",
    "views",
    "plan",
]


@pytest.mark.parametrize(
    ("module", "given", "message"),
    [
        ("eval", "JAX_NUM_CPU_DEVICES=abc", 'value "abc" for JAX flag jax_num_cpu'),
        ("embed", "JAX_ENABLE_X64=perhaps", "truth value 'perhaps' for environment"),
        ("eval", "XLA_FLAGS=--nonsense", "is '--nonsense': Unknown flag in XLA_FL"),
    ],
)
def test_a_variable_that_jax_cannot_read_ends_in_one_line(module, given, message):
    _assert_told(module, given, message)


UNREADABLE = (
    ("JAX_NUM_CPU_DEVICES=abc", 'value "abc" for JAX flag jax_num_cpu_devices'),
    ("JAX_ENABLE_X64=perhaps", "truth value 'perhaps' for environment"),
    ("JAX_LOGGING_LEVEL=loud", 'value "loud" for JAX flag jax_logging_level'),
    ("JAX_DEFAULT_MATMUL_PRECISION=good", 'value "good" for JAX flag'),
    ("XLA_FLAGS=--nonsense", "Unknown flag in XLA_FLAGS: --nonsense"),
    ("XLA_FLAGS=nonsense", 'Could not open file "nonsense"'),
    ("XLA_FLAGS=--xla_backend_optimization_level=x", "Couldn't interpret value x"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("module", "told"), zip(ALL, cycle(UNREADABLE), strict=False))
def test_every_command_tells_what_jax_cannot_read(module, told):
    """One place tells it for all commands: by turns, each variable and each command."""
    _assert_told(module, *told)


def _assert_told(module, given, message):
    name, value = given.split("=", 1)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    more = ["--text=a"] if module == "query" else []
    result = subprocess.run(
        [sys.executable, "-m", f"mmgr_jax.{module}", TOY, *more],
        cwd=ROOT, env=kept | {"JAX_PLATFORMS": "cpu", name: value},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: the environment")


def test_variables_of_jax_do_not_matter_where_jax_is_not_used():
    given = {"JAX_ENABLE_X64": "perhaps", "XLA_FLAGS": "--nonsense"}
    result = subprocess.run(
        [sys.executable, "-m", "mmgr_jax.page", "--help"],
        cwd=ROOT, env=os.environ | given, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_an_interruption_has_its_own_status():
    failing = "raise KeyboardInterrupt"
    result = forks.run("-c", FAILING.format(failing=failing), TOY, jax=False)
    assert result.returncode == 130 and result.stderr.startswith("interrupted")


SPEAKING = """
import logging
from mmgr_jax import cli, summary

def command(config):
    logging.getLogger("mmgr_jax.x").info("how far it is")
    logging.getLogger("orbax").info("what a library says")
    logging.getLogger("orbax").error("what is wrong")
    print("a result")
    summary.end(["how good it is"], {"page to open": "run/page.html"})
    if config.seed:
        open(".")

cli.run(command, "Speaks.")
"""


ENDED = ["how good it is", "page to open: run/page.html"]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--quiet", ["a result", "run/page.html"]),
        (
            "--noquiet",
            ["how far it is", "what is wrong", "a result", *ENDED],
        ),
        (
            "--verbose",
            [
                "mmgr_jax.x: how far it is", "orbax: what a library says",
                "orbax: what is wrong", "a result", *ENDED,
            ],
        ),
    ],
)  # fmt: skip
def test_how_much_is_said(flag, words):
    result = forks.run("-c", SPEAKING, TOY, flag, jax=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(words), lines
    for line, end in zip(lines, words, strict=True):
        assert line.endswith(end)
        dated = re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ", line)
        logged = flag == "--verbose" and end not in ("a result", *ENDED)
        assert bool(dated) == logged
    if flag == "--quiet":
        assert result.stderr == "what is wrong\n"


def test_verbose_shows_where_an_error_comes_from_and_quiet_contradicts_it():
    given = (TOY, "--config.seed=1", "--verbose")
    result = forks.run("-c", SPEAKING, *given, jax=False)
    assert result.returncode == 2 and "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: .: Is a directory")
    result = forks.run("-c", SPEAKING, *given, "--quiet", jax=False)
    assert result.stderr.splitlines()[-1] == (
        "error: --quiet and --verbose: give one of them."
    )


def test_a_fault_of_the_program_keeps_its_traceback():
    failing = "raise ZeroDivisionError"
    result = forks.run("-c", FAILING.format(failing=failing), TOY, jax=False)
    assert result.returncode == 1 and "Traceback" in result.stderr


def test_a_command_whose_library_is_missing_names_the_extra(tmp_path):
    """In a process of its own, which has not loaded it."""
    script = (
        "import runpy, sys; sys.modules['requests'] = None;"
        "sys.argv = ['mmgr', 'fetch', '--help'];"
        "from mmgr_jax import command_line; command_line.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 2
    assert "pip install 'mmgr-jax[fetch]'" in result.stderr
    assert "Traceback" not in result.stderr
