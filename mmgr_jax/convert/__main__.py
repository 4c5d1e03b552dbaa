"""`python -m mmgr_jax.convert`: weights in from PyTorch files, and out to them."""

from absl import flags
from ml_collections import ConfigDict

from mmgr_jax import cli
from mmgr_jax.convert.names import IMAGE_NAMES
from mmgr_jax.errors import InputError

USAGE = """Converts weights between PyTorch files and checkpoints.

From PyTorch files: an image encoder, or the two files of the released MMGR. --config
names the architecture: ResNet-18 and ResNet-50 as torchvision or timm write them,
ViT-S/16 and ViT-B/16 as timm does, DINOv2 and DINOv3 as timm, transformers or Meta do.
Weights are never downloaded: docs/towers.md says where to get them and under which
licence.

  python -m mmgr_jax.convert --config=configs/shanghai.py \\
      --from_image=resnet50.pth --out=weights/resnet50
  python -m mmgr_jax.convert --config=configs/shanghai.py \\
      --config.model.image_encoder.name=dinov3_vits16 \\
      --from_image=model.safetensors --out=weights/dinov3_vits16
  python -m mmgr_jax.convert --config=configs/shanghai.py:released \\
      --from_image=image.tar --from_poi=poi.tar --out=weights/released

The result is a checkpoint that holds those parts. Train from it with
`mmgr_jax.main --config.init.checkpoint=weights/resnet50`, or evaluate it as it is with
`mmgr_jax.eval --checkpoint=weights/resnet50`.

To PyTorch files: the image encoder under the names of torchvision or timm, the POI side
as in the released program. Both load with strict=True. Beside each file lies its card,
FILE.md. It says what the weights were trained on, under which licences, and their
scores.

  python -m mmgr_jax.convert --config=configs/shanghai.py --checkpoint=runs/shanghai \\
      --to_image=image.safetensors --to_poi=poi.tar

Out as a folder that says what it is: both sides as model.safetensors, for
`mmgr_jax.load` on other machines, with a card and an item for STAC catalogues.

  python -m mmgr_jax.convert --config=configs/shanghai.py --checkpoint=runs/shanghai \\
      --to_folder=shanghai_encoder --licence=CC-BY-4.0

.safetensors files need nothing else; .pth, .pt, .tar and .bin files need torch
(the extra `torch`). A file does not say which mean and deviation its weights
expect. For ViTs say it by config.model.image_encoder.pixels.
"""


def main() -> None:
    """Entry point of `python -m mmgr_jax.convert`."""
    text = flags.DEFINE_string
    from_image = text("from_image", None, "Weights of the image encoder to bring in.")
    from_poi = text("from_poi", None, "Released POI weights to bring in.")
    out = text("out", None, "Folder for the weights that are brought in.")
    resample = flags.DEFINE_bool(
        "resample_positions",
        False,
        "Fit a ViT's positions to config.augment.size_px by bicubic resampling.",
    )
    to_image = text("to_image", None, "File for the image encoder of --checkpoint.")
    to_poi = text("to_poi", None, "File for the POI side of --checkpoint.")
    names = flags.DEFINE_enum(
        "image_names", "torchvision", IMAGE_NAMES, "Names in the file of --to_image."
    )
    folder = text("to_folder", None, "Folder for the encoder of --checkpoint.")
    licence = text(
        "licence", "", "Licence under which others may use the encoder in --to_folder."
    )

    def command(config: ConfigDict) -> None:
        coming, going = (
            from_image.value or from_poi.value,
            to_image.value or to_poi.value or folder.value,
        )
        if bool(coming) == bool(going):
            raise InputError(
                "say what to convert: --from_image or --from_poi with --out to bring "
                "weights in, --to_image, --to_poi or --to_folder to write them out. "
                "See --help."
            )
        if not (going or out.value):
            raise InputError(
                "--out is missing: name a folder for the weights that are brought in."
            )
        from mmgr_jax.convert import weights  # libraries load once flags are fine

        if folder.value:
            weights.save(config, folder.value, licence.value)
        if to_image.value or to_poi.value:
            weights.give_out(
                config,
                to_image=to_image.value,
                to_poi=to_poi.value,
                image_names=names.value,
            )
        if going:
            return
        assert out.value
        weights.bring_in(
            config,
            out.value,
            from_image=from_image.value,
            from_poi=from_poi.value,
            resample_positions=resample.value,
        )

    cli.run(command, USAGE, shortcuts=("workdir", "checkpoint"), loads_jax=True)


if __name__ == "__main__":
    main()
