"""Foreign files: numbers are read, everything else is refused in one sentence and not run."""

import argparse
import os
import pickle
import re
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medssl.errors import InputError, WeightsMismatchError
from medssl.weights.foreign import read_foreign


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_tensors_is_read(tmp_path, zipped):
    weight = torch.randn(3, 2)
    given = {"epoch": 3, "state_dict": {"a": weight, "tied": weight, "half": weight.half()}}
    torch.save(given, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    read = read_foreign(tmp_path / "w.pt")
    assert read["epoch"] == 3
    for name, tensor in given["state_dict"].items():
        assert torch.equal(read["state_dict"][name], tensor)
        assert read["state_dict"][name].dtype == tensor.dtype


def test_numpy_numbers_and_namespaces_are_plain_values(tmp_path):
    given = {"best": np.float64(0.5), "args": argparse.Namespace(lr=0.1), "w": torch.ones(1)}
    torch.save(given, tmp_path / "w.pth")
    read = read_foreign(tmp_path / "w.pth")
    assert read["best"] == 0.5
    assert read["args"] == {"lr": 0.1}


def test_a_safetensors_file_is_read_whatever_its_name(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.bin", metadata={"format": "pt"})
    assert torch.equal(read_foreign(tmp_path / "w.bin")["a"], torch.ones(2))


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "was-run"
    torch.save({"state_dict": Malicious(mark)}, tmp_path / "w.pt")
    with (tmp_path / "plain.pt").open("wb") as file:
        pickle.dump(Malicious(mark), file)
    for name in ("w.pt", "plain.pt"):
        with pytest.raises(WeightsMismatchError, match=name) as raised:
            read_foreign(tmp_path / name)
        assert raised.value.exit_code == 3
        assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain.pt", "w.pt"]


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"w.{suffix}"
    tensors = {"a": torch.randn(64, 64)}
    (save_file if suffix == "safetensors" else torch.save)(tensors, path)
    whole = path.read_bytes()
    for length in (0, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsMismatchError, match="copy or download it again"):
            read_foreign(path)


@pytest.mark.parametrize("content", [b"hello there", b"# a licence\n", b""])
def test_a_file_of_something_else_is_refused_in_plain_words(tmp_path, content):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(WeightsMismatchError, match="no whole weights file") as refused:
        read_foreign(tmp_path / "file.pt")
    assert "PyTorch 2.6" not in str(refused.value)
    assert not re.search(r"\(\d+\)", str(refused.value))


def test_a_header_longer_than_its_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{" + b" " * 100)
    with pytest.raises(WeightsMismatchError, match="not a whole safetensors"):
        read_foreign(path)


def test_what_is_no_mapping_or_no_file_is_refused(tmp_path):
    torch.save(torch.ones(3), tmp_path / "w.pt")
    with pytest.raises(WeightsMismatchError, match="no names"):
        read_foreign(tmp_path / "w.pt")
    with pytest.raises(InputError, match="does not exist"):
        read_foreign(tmp_path / "other.pt")
