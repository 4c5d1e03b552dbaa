"""Weights in from PyTorch files, and out to them."""

import dataclasses
import logging
from pathlib import Path

import jax
from ml_collections import ConfigDict

from mmgr_jax import __version__, run_settings, settings, summary
from mmgr_jax.card import card, evaluated, example
from mmgr_jax.convert.names import IMAGE_NAMES
from mmgr_jax.disk import files
from mmgr_jax.errors import InputError, check_choice
from mmgr_jax.models import layouts, mmgr, parts, start, torch_files
from mmgr_jax.models.settings import ModelSettings
from mmgr_jax.store import checkpoint, exported, identity
from mmgr_jax.typing import Tree

IMAGE_SIDE = ("image_encoder", "image_head")
POI_SIDE = ("poi_encoder", "poi_head")

log = logging.getLogger(__name__)


def bring_in(
    config: ConfigDict,
    out: str | Path,
    *,
    from_image: str | None = None,
    from_poi: str | None = None,
    resample_positions: bool = False,
) -> Path:
    """Writes a checkpoint that holds the parts of a model some files have.

    Args:
        config: Names the architecture, in `model`, and the size of a view.
        out: Folder to make.
        from_image: Weights of an image encoder, or the released image file.
        from_poi: The released POI file.
        resample_positions: Fit a ViT's positions to `augment.size_px`.

    Returns:
        Folder of the checkpoint.

    Raises:
        InputError: If a file cannot be read, or does not fit the architecture, with
            every name and shape that does not.
    """
    like = _shapes(config)
    variables: dict[str, dict[str, Tree]] = {}
    if from_image:
        state_dict = torch_files.read_state_dict(from_image)
        if "encoder.fc.0.weight" in state_dict:
            log.info("%s: the released image file", from_image)
            given = parts.parts_from_released(state_dict, like, IMAGE_SIDE)
        else:
            encoder = like["params"]["image_encoder"]
            state_dict, notes = layouts.unified(state_dict, encoder)
            for note in notes:
                log.info("%s: %s", from_image, note)
            if resample_positions:
                state_dict, report = parts.with_resampled_positions(state_dict, like)
                log.info(report or "the positions fit as they are")
            given = parts.image_encoder_from_torch(state_dict, like)
        _add(variables, given)
    if from_poi:
        state_dict = torch_files.read_state_dict(from_poi)
        _add(variables, parts.parts_from_released(state_dict, like, POI_SIDE))
    held = tuple(variables["params"])
    metadata = checkpoint.Metadata(
        config={
            "model": config.model.to_dict(),
            "from_image": from_image,
            "from_poi": from_poi,
        },
        categories=(),
        category_dim=0,
        parts=held,
    )
    bundle = checkpoint.save_model(out, variables, metadata)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(variables))
    summary.end([f"{', '.join(held)} ({numbers:,} numbers)"], {"checkpoint": bundle})
    return bundle


def give_out(
    config: ConfigDict,
    *,
    to_image: str | None = None,
    to_poi: str | None = None,
    image_names: str = "torchvision",
) -> None:
    """Writes parts of a checkpoint as PyTorch weights.

    Args:
        config: As for training; `checkpoint` or `workdir` says which weights.
        to_image: File for the image encoder.
        to_poi: File for POI encoder and head, in the released layout.
        image_names: "torchvision" (timm's for a ViT): the encoder alone; "released":
            encoder and head under the names of the released program.

    Raises:
        InputError: If the checkpoint is of another model, lacks the part, or the
            released layout has no place for it.
    """
    check_choice("image_names", image_names, IMAGE_NAMES)
    bundle = checkpoint.latest(run_settings.read(config).to_load)
    metadata = checkpoint.load_metadata(bundle)
    identity.check_model(config.model.to_dict(), metadata, bundle)
    variables = checkpoint.load_arrays(bundle)
    encoder = _model(config).image_encoder
    mean, std = str(encoder.pixel_mean), str(encoder.pixel_std)
    if metadata.normalise != "encoder":
        mean = std = "of all tiles of a city"
    about = {
        "format": "pt",
        "architecture": str(config.model.image_encoder.name),
        "input_px": str(config.augment.size_px),
        "mean": mean,
        "std": std,
        "checkpoint": str(bundle),
        "software": f"mmgr-jax {__version__}",
    }
    figures: list[str] = []
    paths: dict[str, str | Path] = {}
    if to_image:
        released = image_names == "released"
        _refuse_absent(bundle, variables, IMAGE_SIDE if released else IMAGE_SIDE[:1])
        if released:
            state_dict = parts.parts_to_released(variables, IMAGE_SIDE)
        else:
            state_dict = parts.image_encoder_to_torch(variables)
        torch_files.write_state_dict(to_image, state_dict, about)
        card_of_image = _write_card(to_image, metadata, bundle, variables)
        figures.append(f"image encoder: {len(state_dict)} arrays")
        paths |= {"image encoder": to_image, "its card": card_of_image}
    if to_poi:
        _refuse_absent(bundle, variables, POI_SIDE)
        state_dict = parts.parts_to_released(variables, POI_SIDE)
        torch_files.write_state_dict(to_poi, state_dict, about)
        card_of_pois = _write_card(to_poi, metadata, bundle, variables)
        figures.append(f"POI encoder: {len(state_dict)} arrays")
        paths |= {"POI encoder": to_poi, "the POI encoder's card": card_of_pois}
    summary.end(figures, paths)


def save(config: ConfigDict, folder: str, licence: str = "") -> Path:
    """Writes the encoder of a checkpoint as a folder; see `Encoder.save`.

    Args:
        config: `checkpoint` or `workdir` says which.
        folder: Folder to make, or to replace where it holds such an encoder.
        licence: Under which others may use it.
    """
    from mmgr_jax import encoder  # evaluation loads here alone

    loaded = encoder.load(run_settings.read(config).to_load)
    written = loaded.save(folder, licence=licence)
    names = ", ".join(sorted(path.name for path in written.iterdir()))
    summary.end([f"encoder: {names}"], {"folder": written})
    return written


def _write_card(
    path: str, metadata: checkpoint.Metadata, bundle: Path, variables: Tree
) -> Path:
    """What is known of the weights in a file, beside it."""
    about = exported.about_checkpoint(metadata, bundle)
    about = dataclasses.replace(about, weights=identity.of_weights(variables))
    about = evaluated.with_evaluation(about, bundle)
    written = card.text(about, example.of_file(Path(path).name))
    beside = Path(f"{path}.md")
    files.write_text(beside, written)
    return beside


def _shapes(config: ConfigDict) -> Tree:
    """Shapes of the model's variables; the number of categories does not matter."""
    model = _model(config)
    return jax.eval_shape(
        lambda key: start.init_variables(model, key, 1, config.augment.size_px),
        jax.random.key(0),
    )


def _model(config: ConfigDict) -> mmgr.MMGR:
    metadata = checkpoint.Metadata({}, ("any",), config.category_vectors.dim)
    return start.build_model(
        settings.read(ModelSettings, config.model, "model"), metadata
    )


def _add(variables: dict[str, dict[str, Tree]], given: Tree) -> None:
    for collection, tree in given.items():
        variables.setdefault(collection, {}).update(tree)


def _refuse_absent(bundle: Path, variables: Tree, wanted: tuple[str, ...]) -> None:
    absent = [part for part in wanted if part not in variables["params"]]
    if absent:
        raise InputError(
            f"{bundle}: holds {', '.join(variables['params'])}, and no "
            f"{' and no '.join(absent)}. Name a checkpoint of a training run."
        )
