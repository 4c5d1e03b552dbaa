"""Weights in and out as a user does it: files, checkpoints, features, refusals."""

import contextlib
import re

import jax
import numpy as np
import pytest
import small_vits
from oracles import import_oracle, import_timm, import_torchvision
from small_model import D, K

from configs import toy_city
from mmgr_jax.augment.views import plain_view
from mmgr_jax.convert import weights as convert
from mmgr_jax.data.source import open_source
from mmgr_jax.errors import InputError
from mmgr_jax.evaluation import inference
from mmgr_jax.models import dino, torch_files
from mmgr_jax.store import checkpoint
from mmgr_jax.train import experiment


def config_for(image_encoder, tmp_path, records_dir, size_px=32):
    config = toy_city.get_config("smoke")
    config.workdir = str(tmp_path / "run")
    config.records.dir = str(records_dir)
    config.model.image_encoder = {"name": image_encoder}
    config.augment.size_px, config.mesh.data = size_px, 1
    config.category_vectors.dim = 16  # of the small records
    config.readout.image, config.readout.surroundings_m = "pooled", ()
    config.model.poi_encoder.counts = False  # as released
    return config


def oracle_named(name):
    """torchvision's or timm's model, without classifier, every weight drawn anew."""
    if name == "resnet18":
        oracle = import_torchvision().models.resnet18()
        oracle.fc = import_oracle("torch").nn.Identity()
    else:
        vision_transformer = import_timm().models.vision_transformer
        oracle = vision_transformer.VisionTransformer(
            img_size=32, embed_dim=384, depth=12, num_heads=6, num_classes=0
        )
    torch = import_oracle("torch")
    torch.manual_seed(3)
    for module in oracle.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return oracle.eval()


def features_of(oracle, batch):
    """What the oracle says of the tiles as evaluation shows them."""
    torch = import_oracle("torch")
    view = plain_view(jax.numpy.asarray(batch["image"]), size_px=32)
    with torch.no_grad():
        return oracle(torch.tensor(np.array(view).transpose(0, 3, 1, 2))).numpy()


def assert_close(ours, theirs):
    assert np.max(np.abs(ours - theirs)) <= 1e-5 * np.max(np.abs(theirs))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("resnet18", ".pth"),
        ("vit_small16", ".safetensors"),
    ],
)
@pytest.mark.slow
def test_weights_come_in_and_go_out_with_their_features(
    name, suffix, tmp_path, records_dir
):
    oracle, torch = oracle_named(name), import_oracle("torch")
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": oracle.state_dict()}, path)
    else:
        import_oracle("safetensors.torch").save_file(oracle.state_dict(), path)
    config = config_for(name, tmp_path, records_dir)
    bundle = convert.bring_in(config, tmp_path / "in", from_image=str(path))
    assert checkpoint.load_metadata(bundle).parts == ("image_encoder",)

    source = open_source(config)
    batch = next(experiment.build(config).batches())
    encoder = inference.load_encoder(config, bundle, source)
    expected = features_of(oracle, batch)
    assert_close(encoder.encode(batch)["image"]["pooled"], expected)

    config.checkpoint = str(bundle)
    out = tmp_path / "out.safetensors"
    convert.give_out(config, to_image=str(out))
    again = oracle_named(name)
    again.load_state_dict(
        import_oracle("safetensors.torch").load_file(out), strict=True
    )
    for key, value in oracle.state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(value, again.state_dict()[key]), key
    assert_close(features_of(again, batch), expected)


def test_a_run_s_encoder_loads_in_torchvision_with_the_same_features(
    tmp_path, records_dir
):
    config = config_for("resnet18", tmp_path, records_dir)
    run = experiment.build(config)
    state = run.init()
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    variables = jax.tree.map(lambda leaf: 1.1 * np.asarray(leaf) + 0.01, variables)
    checkpoint.save_model(config.workdir, variables, run.metadata)
    out = tmp_path / "image.safetensors"
    convert.give_out(config, to_image=str(out), to_poi=str(tmp_path / "poi.tar"))
    oracle = oracle_named("resnet18")
    oracle.load_state_dict(
        import_oracle("safetensors.torch").load_file(out), strict=True
    )
    source = open_source(config)
    batch = next(run.batches())
    bundle = checkpoint.latest(config.workdir)
    encoder = inference.load_encoder(config, bundle, source)
    features = encoder.encode(batch)["image"]["pooled"]
    assert_close(features, features_of(oracle, batch))

    poi = torch_files.read_state_dict(tmp_path / "poi.tar")
    trained = checkpoint.load_arrays(bundle)["params"]["poi_head"]["linear1"]["kernel"]
    np.testing.assert_array_equal(poi["linear1.weight"], trained.T)
    with import_oracle("safetensors").safe_open(out, "np") as file:
        assert file.metadata()["architecture"] == "resnet18"
        assert file.metadata()["mean"] == "(0.485, 0.456, 0.406)"
    for name in ("image.safetensors", "poi.tar"):
        text = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert "trained on small:" in text and "| small | imagery, " in text
        (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        with contextlib.chdir(tmp_path):
            exec(example, names := {})
        assert len(names["arrays"]) > 5


def test_a_dinov3_of_transformers_comes_in_and_goes_out_as_timm_s(
    tmp_path, records_dir, monkeypatch
):
    """Its pixels are normalised as satellite imagery's weights want; a small one."""
    name = "dinov3_vitl16_sat493m"
    small = dict(
        width=small_vits.WIDTH, depth=small_vits.DEPTH, num_heads=small_vits.HEADS
    )
    monkeypatch.setitem(dino.SIZES, "vitl", small)
    oracle = small_vits.of_transformers(name)
    oracle.save_pretrained(tmp_path / "dinov3")
    config = config_for(name, tmp_path, records_dir)
    bundle = convert.bring_in(
        config,
        tmp_path / "in",
        from_image=str(tmp_path / "dinov3" / "model.safetensors"),
        resample_positions=True,  # there are none to resample
    )
    source = open_source(config)
    batch = next(experiment.build(config).batches())
    encoder = inference.load_encoder(config, bundle, source)
    pixels = dict(mean=(0.430, 0.411, 0.296), std=(0.213, 0.156, 0.143))
    view = plain_view(jax.numpy.asarray(batch["image"]), size_px=32, **pixels)
    with import_oracle("torch").no_grad():
        theirs = oracle(small_vits.to_torch_image(view)).pooler_output.numpy()
    assert_close(encoder.encode(batch)["image"]["pooled"], theirs)

    config.checkpoint = str(bundle)
    out = tmp_path / "out.safetensors"
    convert.give_out(config, to_image=str(out))
    again = small_vits.of_timm(name)
    held = import_oracle("safetensors.torch").load_file(out)
    again.load_state_dict(held, strict=True)
    with import_oracle("torch").no_grad():
        assert_close(again(small_vits.to_torch_image(view)).numpy(), theirs)
    with import_oracle("safetensors").safe_open(out, "np") as file:
        assert file.metadata()["architecture"] == name
        assert file.metadata()["mean"] == str(pixels["mean"])
        assert file.metadata()["std"] == str(pixels["std"])


def test_the_released_files_come_in_and_go_out(tmp_path, records_dir):
    torch = import_oracle("torch")
    from torch_reference import Reference

    rng = np.random.default_rng(0)
    reference = Reference(rng.normal(size=(K, D)).astype(np.float32))
    # The whole architecture, as the config has it; the reference is shallower.
    encoder = oracle_named("resnet18")
    encoder.fc = torch.nn.Sequential(
        torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 128)
    )
    reference.image_side.encoder = encoder
    image, poi = tmp_path / "image.tar", tmp_path / "poi.tar"
    torch.save({"epoch": 3, "state_dict": reference.image_side.state_dict()}, image)
    torch.save({"epoch": 3, "state_dict": reference.poi_side.state_dict()}, poi)
    config = config_for("resnet18", tmp_path, records_dir)
    config.category_vectors.dim = D
    bundle = convert.bring_in(
        config, tmp_path / "in", from_image=str(image), from_poi=str(poi)
    )
    assert set(checkpoint.load_metadata(bundle).parts) == {
        "image_encoder", "image_head", "poi_encoder", "poi_head",
    }  # fmt: skip
    config.checkpoint = str(bundle)
    convert.give_out(
        config,
        to_image=str(tmp_path / "image_out.tar"),
        to_poi=str(tmp_path / "poi_out.tar"),
        image_names="released",
    )
    for module, name in ((reference.image_side, "image"), (reference.poi_side, "poi")):
        before = {k: v.clone() for k, v in module.state_dict().items()}
        module.load_state_dict(torch.load(tmp_path / f"{name}_out.tar"), strict=True)
        for key, value in module.state_dict().items():
            assert torch.equal(value, before[key]), key


def test_all_that_does_not_fit_is_listed(tmp_path, records_dir):
    state_dict = {"conv1.weight": np.zeros((64, 3, 3, 3)), "layer1.0.conv9": np.ones(1)}
    path = tmp_path / "weights.safetensors"
    torch_files.write_state_dict(path, state_dict, {})
    config = config_for("resnet18", tmp_path, records_dir)
    with pytest.raises(InputError) as error:
        convert.bring_in(config, tmp_path / "in", from_image=str(path))
    message = str(error.value)
    assert "shape of conv1.weight: (64, 3, 3, 3), expected (64, 3, 7, 7)" in message
    assert "unexpected: layer1.0.conv9" in message
    assert "missing: layer4.1.bn2.running_var (512,)" in message
    assert not (tmp_path / "in").exists()


def test_positions_are_resampled_only_on_demand(tmp_path, records_dir):
    oracle = oracle_named("vit_small16")
    path = tmp_path / "weights.safetensors"
    import_oracle("safetensors.torch").save_file(oracle.state_dict(), path)
    config = config_for("vit_small16", tmp_path, records_dir, size_px=64)
    with pytest.raises(InputError, match=r"shape of pos_embed: \(1, 5, 384\), exp"):
        convert.bring_in(config, tmp_path / "in", from_image=str(path))
    bundle = convert.bring_in(
        config, tmp_path / "in", from_image=str(path), resample_positions=True
    )
    positions = checkpoint.load_arrays(bundle)["params"]["image_encoder"]["pos_embed"]
    assert positions.shape == (1, 17, 384)


def test_a_part_that_is_not_there_cannot_go_out(tmp_path, records_dir):
    config = config_for("resnet_small", tmp_path, records_dir)
    params = {"poi_head": {"linear1": {"bias": np.zeros(3, np.float32)}}}
    metadata = checkpoint.Metadata({}, (), 0, parts=("poi_head",))
    checkpoint.save_model(tmp_path / "run", {"params": params}, metadata)
    with pytest.raises(InputError, match="holds poi_head, and no image_encoder"):
        convert.give_out(config, to_image=str(tmp_path / "x.safetensors"))


def test_shapes_need_no_records(tmp_path):
    config = config_for("vit_base16", tmp_path, tmp_path / "nowhere", size_px=224)
    params = convert._shapes(config)["params"]["image_encoder"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 85_798_656
