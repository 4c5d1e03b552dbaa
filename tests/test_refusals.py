"""What cannot be read now is not called damaged, wherever it is read."""

import errno

import numpy as np
import pytest

from mmgr_jax.data import folds, schema
from mmgr_jax.data import source as source_lib
from mmgr_jax.data.source import RecordSource
from mmgr_jax.disk import refusals
from mmgr_jax.errors import InputError
from mmgr_jax.models import torch_files

REFUSED = [
    PermissionError(13, "Permission denied"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EMFILE, "Too many open files"),
    RuntimeError("PERMISSION_DENIED: open() failed: Permission denied; reading a"),
    RuntimeError("open() failed: Input/output error"),
    MemoryError(),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
DAMAGE = [
    ValueError("magic string is not correct"),
    FileNotFoundError(2, "No such file or directory"),
    OSError(errno.EINVAL, "Invalid argument"),  # by a seek that a torn file asks for
    EOFError("No data left in file"),
    RuntimeError("DATA_LOSS: truncated"),
]


@pytest.mark.parametrize("error", REFUSED, ids=repr)
def test_refusals_are_told(error, tmp_path):
    with pytest.raises(InputError, match="Nothing was changed"):
        refusals.refuse_unreadable(tmp_path / "a", error)


@pytest.mark.parametrize("error", DAMAGE, ids=repr)
def test_what_a_file_holds_is_no_refusal(error, tmp_path):
    refusals.refuse_unreadable(tmp_path / "a", error)


def _raising(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.fixture
def denied():
    return _raising(RuntimeError("open() failed: Permission denied; reading shard"))


def test_a_shard_that_cannot_be_opened(records_dir, monkeypatch, denied):
    library = source_lib.array_record_data_source
    monkeypatch.setattr(library, "ArrayRecordDataSource", denied)
    with pytest.raises(InputError, match="array_record.*cannot be read .*Nothing was"):
        RecordSource(records_dir)


def test_a_record_that_cannot_be_read(records_dir, monkeypatch, denied):
    source = RecordSource(records_dir)
    monkeypatch.setattr(type(source._examples), "__getitems__", denied)
    for indices in ([0], [0, 1]):
        with pytest.raises(InputError, match="cannot be read .*Nothing was changed"):
            source.read(indices)


@pytest.mark.parametrize("error", REFUSED[:3], ids=repr)
def test_vectors_and_folds_that_cannot_be_read(records_dir, monkeypatch, error):
    source = RecordSource(records_dir)
    monkeypatch.setattr(type(source.records_dir), "read_bytes", _raising(error))
    with pytest.raises(InputError, match="vectors.npy: cannot.*Nothing was changed"):
        source.category_vectors()
    monkeypatch.setattr(type(source.records_dir), "open", _raising(error))
    manifest = schema.dataclasses.replace(
        source.manifest, splits={"block": schema.SplitColumn(4, 0.0)}
    )
    with pytest.raises(InputError, match="splits.csv: cannot.*Nothing was changed"):
        folds.read(records_dir, manifest, ["r"])


def test_weights_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    torch_files.write_state_dict(path, {"a": np.zeros(2, np.float32)}, {})
    library = torch_files.safetensors.numpy
    monkeypatch.setattr(library, "load_file", _raising(REFUSED[0]))
    with pytest.raises(InputError, match="weights.*Permission denied.*Nothing was"):
        torch_files.read_state_dict(path)
