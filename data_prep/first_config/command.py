"""Runs `python -m mmgr_jax.init`: reads the files, writes, lists open questions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from data_prep import check as city_checks
from data_prep import settings as settings_lib
from data_prep.first_config import imagery, labels, pois, sizes, template
from data_prep.first_config.answers import Answers, questions
from data_prep.first_config.labels import LabelFacts
from mmgr_jax import config_files
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError

TEMPLATE = "my_city"
_CONFIGS = "configs"
_NOT_NAMES = ("raw", "imagery", "data", "images", "ortho", "tiles", "")


@dataclasses.dataclass(frozen=True)
class FirstConfig:
    """A config that was written, and the questions left to the user.

    Attributes:
        path: Path of the config.
        summary: What the files say, one line each.
        questions: Pairs (setting, question), as marked in the file.
    """

    path: Path
    summary: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """A page for the user."""
        return "\n".join([self.page(), "", f"written: {self.path}", "", *self.onward()])

    def page(self) -> str:
        """Text with what the files say and the questions left to the user."""
        lines = [*self.summary]
        if self.questions:
            lines += ["", f"{len(self.questions)} question(s), marked `# ASK:` there:"]
            lines += [
                f"  {number}. {key}: {text}"
                for number, (key, text) in enumerate(self.questions, 1)
            ]
        return "\n".join(lines)

    def onward(self) -> list[str]:
        """Text with the next commands to run."""
        return [
            "next:",
            f"  python -m data_prep.build --config={self.path} --dry_run",
            f"  python -m mmgr_jax.main --config={self.path}",
        ]


def first_config(
    image_pattern: str,
    poi_path: str | None = None,
    label_paths: Sequence[str] = (),
    *,
    name: str | None = None,
    out: str | None = None,
    num_accelerators: int = 0,
) -> FirstConfig:
    """Writes the first config of a city.

    Args:
        image_pattern: Imagery: a path or pattern.
        poi_path: File of POIs; None: no POIs.
        label_paths: Files of labels.
        name: Name of the city; None: that of the folder with the imagery.
        out: Path of the config; None: configs/NAME.py.
        num_accelerators: GPUs or TPU cores of the machine that will train.

    Raises:
        InputError: If the config exists already, or the imagery cannot be read.
    """
    name = _checked_name(name or name_of(image_pattern))
    path = Path(out or usual_path(name))
    check_path(path)
    if path.exists():
        raise InputError(
            f"{path}: exists already, and is not overwritten. Name another by "
            "--out=configs/NAME.py or --name, or remove it."
        )
    facts = imagery.ask(image_pattern)
    places = pois.none_given()
    if poi_path:
        places = pois.ask(poi_path, facts.crs, facts.extent_deg)
    known_labels: list[LabelFacts] = []
    for label_path in label_paths:
        taken = [label.name for label in known_labels]
        known_labels.append(labels.ask(label_path, facts.extent_deg, taken))
    chosen = sizes.choose(facts)
    machine = sizes.machine(num_accelerators)
    answers = facts.answers | places.answers | chosen.answers | machine
    text = template.fill(
        template_path().read_text(encoding="utf-8"),
        name=name,
        out=str(path),
        answers=answers,
        labels=known_labels,
    )
    asked = _all_questions(answers, known_labels)
    if not asked:
        asked = _unbuildable(text, path)
    path.parent.mkdir(exist_ok=True)
    files.write_text(path, text)
    summary = [facts.summary, places.summary]
    summary += [label.summary for label in known_labels] + [chosen.summary]
    return FirstConfig(path, tuple(summary), tuple(asked))


def usual_path(name: str) -> Path:
    """Returns the usual path of a city's config."""
    return Path(_CONFIGS) / f"{name}.py"


def template_path() -> Path:
    """Returns the template's path, next to the other configs of the program."""
    return config_files.folder() / f"{TEMPLATE}.py"


def loaded(text: str, path: Path) -> ConfigDict:
    """Returns the config that a text defines."""
    config_files.make_importable()
    namespace: dict = {"__name__": path.stem}
    exec(compile(text, str(path), "exec"), namespace)
    return namespace["get_config"]()


def _unbuildable(text: str, path: Path) -> list[tuple[str, str]]:
    """What the checks before a build find, where the files had an answer to all."""
    try:
        city_checks.check(settings_lib.read(loaded(text, path)))
    except InputError as error:
        return [("the whole", str(error))]
    return []


def _all_questions(
    answers: Answers, known_labels: Sequence[LabelFacts]
) -> list[tuple[str, str]]:
    asked = questions(answers)
    for label in known_labels:
        asked += [(f"c.labels.{label.name}", text) for text in label.questions]
    return asked


def check_path(path: Path, key: str = "--out") -> None:
    """Refuses a path where no config can be written.

    Args:
        path: Path of the config.
        key: The flag that names it.

    Raises:
        InputError: If it is no Python file, or its folder does not exist.
    """
    if path.suffix != ".py":
        raise InputError(f"{key}={path}: a config is a file that ends in .py.")
    if not path.parent.is_dir() and path.parent != Path(_CONFIGS):
        raise InputError(
            f"{key}={path}: there is no folder {path.parent}. Make it, or name "
            f"another file by {key}."
        )


def name_of(pattern: str) -> str:
    """Returns the folder name of a city's files, as oulu in "data/oulu/raw/*.tif"."""
    parts = [part for part in Path(pattern).parts[:-1] if not set(part) & set("*?[")]
    for part in reversed(parts):
        if part.strip("/.").casefold() not in _NOT_NAMES:
            return part
    return re.sub(r"[*?\[\]]", "", Path(pattern).stem) or "city"


def _checked_name(name: str) -> str:
    plain = re.sub(r"\W+", "_", name).strip("_")
    if not plain:
        raise InputError(f"--name={name!r}: allowed: letters, digits and _.")
    return f"city_{plain}" if plain[0].isdigit() else plain
