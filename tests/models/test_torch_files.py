"""Files of weights: formats, wrappers, types, and what is refused."""

import argparse
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from oracles import import_oracle

from mmgr_jax.errors import InputError
from mmgr_jax.models.torch_files import read_state_dict, write_state_dict

PICKLED = (".pth", ".pt", ".tar", ".bin")


def weights():
    """A transposed view, as `to_torch` makes them, and a counter."""
    rng = np.random.default_rng(0)
    return {
        "conv1.weight": rng.normal(size=(4, 3, 2)).astype(np.float32).T,
        "bn1.num_batches_tracked": np.array(7, np.int64),
    }


def tensors(prefix=""):
    torch = import_oracle("torch")
    return {prefix + k: torch.tensor(np.array(v)) for k, v in weights().items()}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype
        np.testing.assert_array_equal(ours[name], value)


@pytest.mark.parametrize("suffix", [".safetensors", *PICKLED])
def test_round_trip(tmp_path, suffix):
    if suffix in PICKLED:
        import_oracle("torch")
    path = tmp_path / "new" / f"weights{suffix}"
    write_state_dict(path, weights(), {"licence": "CC0"})
    assert_same(read_state_dict(path), weights())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_metadata_is_where_the_formats_keep_it(tmp_path):
    torch = import_oracle("torch")
    for suffix in (".safetensors", ".pth"):
        write_state_dict(tmp_path / f"w{suffix}", weights(), {"licence": "CC0"})
    with safetensors.safe_open(tmp_path / "w.safetensors", framework="np") as file:
        assert file.metadata() == {"licence": "CC0"}
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert content.metadata == {"licence": "CC0"}


def test_a_written_file_loads_into_its_module(tmp_path):
    torch = import_oracle("torch")
    module = torch.nn.BatchNorm2d(3)
    state_dict = {k: v.numpy() + 2 for k, v in module.state_dict().items()}
    write_state_dict(tmp_path / "w.pth", state_dict, {})
    module.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))
    assert_same({k: v.numpy() for k, v in module.state_dict().items()}, state_dict)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    "wrapper", [None, "state_dict", "model", "model_state_dict", "net"]
)
def test_wrapped_weights_are_found(tmp_path, wrapper, prefix):
    content = tensors(prefix)
    if wrapper:
        content = {"epoch": 3, "optimizer": {"state": {}}, wrapper: content}
    path = tmp_path / "w.pth.tar"
    import_oracle("torch").save(content, path)
    assert_same(read_state_dict(path), weights())


def test_a_prefix_of_some_names_alone_is_a_name(tmp_path):
    content = {"module.a": np.zeros(2), "b": np.zeros(2)}
    write_state_dict(tmp_path / "w.safetensors", content, {})
    assert read_state_dict(tmp_path / "w.safetensors").keys() == content.keys()


def test_parameters_of_a_module_are_plain_arrays(tmp_path):
    torch = import_oracle("torch")
    parameter = torch.nn.Parameter(torch.arange(3.0))
    torch.save({"weight": parameter}, tmp_path / "w.pt")
    assert_same(
        read_state_dict(tmp_path / "w.pt"), {"weight": np.arange(3, dtype=np.float32)}
    )


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_becomes_float32(tmp_path, name):
    torch = import_oracle("torch")
    value = np.array([1.5, -0.25], np.float32)
    half = value.astype(getattr(ml_dtypes, name, name))
    safetensors.numpy.save_file({"w": half}, tmp_path / "w.safetensors")
    torch.save({"w": torch.tensor(value).to(getattr(torch, name))}, tmp_path / "w.pth")
    for suffix in (".safetensors", ".pth"):
        assert_same(read_state_dict(tmp_path / f"w{suffix}"), {"w": value})


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ({"student": {}, "teacher": {}, "epoch": 3}, "'student', 'teacher', 'epoch'"),
        ({"state_dict": "none"}, "holds 'state_dict' where"),
        ([1.0], "only a list"),
        ({}, "only a dict"),
    ],
)
def test_an_unknown_layout_is_refused_with_its_keys(tmp_path, content, seen):
    import_oracle("torch").save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=seen):
        read_state_dict(tmp_path / "w.pth")


def test_two_state_dicts_are_ambiguous(tmp_path):
    content = {"model": tensors(), "state_dict": tensors()}
    import_oracle("torch").save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match="exactly one of state_dict, model"):
        read_state_dict(tmp_path / "w.pth")


def test_pickled_objects_are_refused_by_name(tmp_path):
    content = {"model": tensors(), "args": argparse.Namespace(lr=1)}
    import_oracle("torch").save(content, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"argparse\.Namespace.*trust its source"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.filterwarnings("ignore")  # that TorchScript is deprecated, and read
def test_torchscript_is_refused(tmp_path):
    torch = import_oracle("torch")
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "w.pt")
    with pytest.raises(InputError, match="TorchScript.*trust its source"):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"hello", b"<!DOCTYPE html>", None])
def test_damaged_files_are_refused(tmp_path, suffix, content):
    """Empty ones, other ones, a download's error page, and the first half of one."""
    import_oracle("torch")
    path = tmp_path / f"w{suffix}"
    if content is None:
        write_state_dict(path, weights(), {})
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"w{suffix}: damaged, or no {suffix} file"):
        read_state_dict(path)


def test_missing_files_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match="w.pth: no such file"):
        read_state_dict(tmp_path / "w.pth")
    with pytest.raises(InputError, match="'.npz' is no format.*allowed: .safetensors"):
        read_state_dict(tmp_path / "w.npz")
    with pytest.raises(InputError, match="'.npz' is no format"):
        write_state_dict(tmp_path / "w.npz", weights(), {})


def test_without_torch_only_pickled_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    write_state_dict(tmp_path / "w.safetensors", weights(), {})
    assert_same(read_state_dict(tmp_path / "w.safetensors"), weights())
    (tmp_path / "w.pth").touch()
    remedy = "pip install -r requirements-convert.txt.*.safetensors file"
    with pytest.raises(InputError, match=f"w.pth: .pth files need torch.*{remedy}"):
        read_state_dict(tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"v\.pth: \.pth files need torch"):
        write_state_dict(tmp_path / "v.pth", weights(), {})
    assert not (tmp_path / "v.pth").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.safetensors"
    write_state_dict(path, weights(), {})
    with pytest.raises(safetensors.SafetensorError):
        write_state_dict(path, {"w": np.array(["text"])}, {})
    assert_same(read_state_dict(path), weights())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
