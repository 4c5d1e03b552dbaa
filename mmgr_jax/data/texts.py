"""Turns texts into vectors, with local sentence encoders and a map to a table.

`category_text.npz` is in a records folder if its category vectors were made from texts.
With it, any other text can be turned into a vector that is comparable with theirs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Float32

from mmgr_jax.data import arrays, schema
from mmgr_jax.data.names import one_form
from mmgr_jax.disk import refusals
from mmgr_jax.errors import InputError
from mmgr_jax.extras import install

FILE = schema.CATEGORY_TEXT_FILE
MODELS = {
    "wordllama": install("text"),
    "sentence-transformers": "`pip install 'sentence-transformers>=5,<6'`",
}
"""Name of a sentence encoder (its package) -> how to install it."""

NEAREST = 5
"""Default for the number of categories that a text may be mapped to."""

TEMPERATURE = 0.1
"""Temperature of the softmax over cosines that gives the nearest categories shares."""

_Embed = Callable[[list[str]], np.ndarray]

_BEGINS_WORD = "\u2581"  # SentencePiece's mark for a space before a piece


@dataclasses.dataclass(frozen=True)
class SentenceEncoder:
    """A loaded sentence encoder.

    Attributes:
        model: One of `MODELS`.
        version: Version of its package.
        embed: Function from texts to vectors [n m], not normalised.
    """

    model: str
    version: str
    embed: _Embed

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "n m"]:
        """Returns unit vectors [n m].

        Raises:
            InputError: If a text has no vector, for example because it has no words.
        """
        composed = [one_form(text) for text in texts]
        vectors = np.asarray(self.embed(composed), np.float64)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        for text, size in zip(texts, length[:, 0], strict=True):
            if not 0 < size < np.inf:
                raise InputError(
                    f"the model {self.model} has no vector for the text {text!r}. Use "
                    "other words; those for a category are written in the file "
                    "config.category_vectors.text.phrases."
                )
        return vectors / length


@dataclasses.dataclass(frozen=True)
class TextSpace:
    """Maps texts to vectors that are comparable with those of a table.

    A vector is scale * components (u - mean), where u is the encoder's unit vector.

    Attributes:
        model: One of `MODELS`.
        folder: Folder of the model; "" if its package contains the model.
        version: Version of the package that made the table.
        phrases: The text of each row of the table.
        mean: Mean of the encoder's vectors over the rows [m].
        components: Principal axes, one for each number of a vector [d m]. Surplus rows
            are zero, if d is larger than the number of axes.
        scale: Factor that makes the mean square of the table's numbers 1.
    """

    model: str
    folder: str
    version: str
    phrases: tuple[str, ...]
    mean: Float[np.ndarray, " m"]
    components: Float[np.ndarray, "d m"]
    scale: float

    def project(self, units: Float[np.ndarray, "n m"]) -> Float32[np.ndarray, "n d"]:
        """Maps unit vectors of the encoder to vectors like those of the table."""
        vectors = self.scale * ((units - self.mean) @ self.components.T)
        return vectors.astype(np.float32)

    def vectors(self, texts: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Maps texts to vectors like those of the table.

        Raises:
            InputError: If the encoder is not installed, or is not the one that made the
                table.
        """
        units = load(self.model, self.folder or None)(texts)
        if units.shape[1] != len(self.mean):
            raise InputError(
                f"{self.folder or self.model}: gives {units.shape[1]} numbers a text, "
                f"but the table was made with {len(self.mean)}: it is another model. "
                "Name the same one, or make the table again with "
                "`python -m data_prep.category_embedding --config=...`."
            )
        return self.project(units)

    def refuse_misfit(self) -> None:
        """Raises ValueError if the parts do not fit each other."""
        numbers = (self.mean, self.components, np.asarray(self.scale))
        if self.mean.ndim != 1 or self.components.shape[1:] != self.mean.shape:
            raise ValueError(
                f"mean has shape {self.mean.shape}, components {self.components.shape}"
            )
        if not all(np.isfinite(array).all() for array in numbers):
            raise ValueError("it holds numbers that are not finite")

    def to_bytes(self) -> bytes:
        """Returns the content of `category_text.npz`; equal spaces give equal bytes."""
        file = io.BytesIO()
        np.savez(file, **dataclasses.asdict(self))
        return file.getvalue()

    @classmethod
    def load(cls, records_dir: str | Path) -> TextSpace:
        """Reads `category_text.npz` of a records folder.

        Raises:
            InputError: If the file is missing or cannot be read.
        """
        path = Path(records_dir) / FILE
        again = (
            "Make the vectors from texts with `python -m data_prep.category_embedding "
            "--config=... --config.category_vectors.method=text`"
        )
        if not path.exists():
            raise InputError(
                f"{path}: no such file, so the category vectors of these records were "
                f"not made from texts. {again}; a checkpoint remains usable if the "
                "new vectors have the same length."
            )
        try:
            stored = arrays.load_npz(path)
            space = cls(
                model=str(stored["model"]),
                folder=str(stored["folder"]),
                version=str(stored["version"]),
                phrases=tuple(map(str, stored["phrases"].tolist())),
                mean=stored["mean"].astype(np.float64),
                components=stored["components"].astype(np.float64),
                scale=float(stored["scale"]),
            )
            space.refuse_misfit()
            return space
        except (OSError, ValueError, KeyError, TypeError) as error:
            refusals.refuse_unreadable(path, error)
            raise InputError(f"{path}: cannot be read ({error}). {again}.") from error


@functools.cache
def load(model: str, folder: str | None = None) -> SentenceEncoder:
    """Loads a sentence encoder, only from files on this machine.

    Args:
        model: "wordllama": averages word vectors of a table in its package.
            "sentence-transformers": any model in a folder.
        folder: Folder of the model; only for "sentence-transformers".

    Raises:
        InputError: If the package is not installed, or the folder holds no model.
    """
    faults = problems(model, folder)
    if faults:
        raise InputError(" ".join(faults))
    try:
        embed = _wordllama() if model == "wordllama" else _sentence_transformers(folder)
    except ImportError as error:
        raise InputError(
            f"config.category_vectors.text.model is {model!r}, whose package is there "
            f"but cannot be imported ({_first_line(error)}). Install it in an "
            f"environment of its own: {MODELS[model]}."
        ) from error
    return SentenceEncoder(model, importlib.metadata.version(model), embed)


def problems(model: str, folder: str | None) -> list[str]:
    """Lists the reasons why a sentence encoder cannot be loaded; empty if it can."""
    key = "config.category_vectors.text"
    if model not in MODELS:
        allowed = ", ".join(map(repr, MODELS))
        return [f"{key}.model is {model!r}; allowed: {allowed}."]
    faults = []
    if not _is_installed(model):
        faults.append(
            f"{key}.model is {model!r}, which is not installed: {MODELS[model]}."
        )
    if model == "wordllama" and folder:
        faults.append(
            f"{key}.folder is {folder!r}, but 'wordllama' reads none; set it to None, "
            "or model to 'sentence-transformers'."
        )
    if model != "wordllama" and not (folder and Path(folder).is_dir()):
        faults.append(
            f"{key}.folder is {folder!r}, which is no folder; wanted: one with a model "
            "of sentence-transformers, saved there by its `save`. Nothing is "
            "downloaded."
        )
    return faults


def _is_installed(model: str) -> bool:
    try:
        importlib.metadata.version(model)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def is_installed(model: str) -> bool:
    """Returns whether one of `MODELS` is installed."""
    return _is_installed(model)


def whole_words() -> list[str]:
    """Lists words that are one piece of wordllama's table, roughly by frequency."""
    order = _wordllama_model().tokenizer.get_vocab()
    pieces = sorted(order, key=order.__getitem__)
    words = [piece[1:] for piece in pieces if piece.startswith(_BEGINS_WORD)]
    return [w for w in words if w.isascii() and w.isalpha()]


def word_sums(words: Sequence[str]) -> Float32[np.ndarray, "w m"]:
    """Returns for each word the sum of its pieces' vectors in wordllama's table.

    The vector of a phrase (words with spaces between them) has the direction of the
    sum over its words.
    """
    model = _wordllama_model()
    sums = [
        model.embedding[model.tokenizer.encode(word, add_special_tokens=False).ids]
        for word in words
    ]
    empty = np.zeros((0, model.embedding.shape[1]), np.float32)
    return np.stack([own.sum(axis=0) for own in sums]) if sums else empty


def _wordllama() -> _Embed:
    return cast(_Embed, _wordllama_model().embed)  # it returns an array by default


@functools.cache
def _wordllama_model() -> Any:
    with _root_logger_as_it_is():  # the import would configure the root logger
        import wordllama

    # By default, 0.4.0 does not look for the tokenizer in the folder of its wheel, but
    # downloads it. If that folder is given as the cache, it is found.
    folder = Path(wordllama.__file__).parent
    try:
        return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: this wordllama carries no table or tokenizer ({error}). "
            f"Install the supported version: {MODELS['wordllama']}."
        ) from error


def _sentence_transformers(folder: str | None) -> _Embed:
    # These variables are read once, when the packages are imported.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    # The type checker may run without this package.
    from sentence_transformers import (  # pyright: ignore[reportMissingImports]
        SentenceTransformer,
    )

    try:
        model = SentenceTransformer(folder, device="cpu", local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder}: holds no model of sentence-transformers "
            f"({_first_line(error)}). Name a folder that its `save` wrote."
        ) from error
    return functools.partial(model.encode, show_progress_bar=False)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _root_logger_as_it_is() -> Iterator[None]:
    """Keeps an import from configuring the root logger of the program."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)  # basicConfig leaves a logger with handlers alone
    try:
        yield
    finally:
        root.removeHandler(handler)
