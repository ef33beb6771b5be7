"""Export and strict loading, as users call them."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import medssl
from medssl.encoders import build_encoder
from medssl.errors import InputError, WeightsMismatchError
from medssl.store.recipe import Recipe
from medssl.types import Volume
from medssl.weights.export import write_export
from medssl.weights.golden import golden_volume
from medssl.weights.load import load_encoder, verify_export
from medssl.weights.manifest import InputContract, TrainingRecord
from medssl.weights.state import load_state, sha256_of


def small_encoder(dims=3):
    torch.manual_seed(0)
    patch = (16,) * dims
    return build_encoder(
        "resenc_s", spatial_dims=dims, in_channels=1, patch=patch, features=(4, 8), blocks=(1, 1)
    )


def contract(dims=3, modality="ct"):
    recipe = Recipe(spacing_mm=(2.0, 2.0, 3.0))
    return InputContract(modality, recipe.to_dict(), recipe.hash, (16,) * dims)


@pytest.fixture
def export(tmp_path):
    encoder = small_encoder()
    training = TrainingRecord("mae_cnn", 10, 0, 5, 4, "ab")
    write_export(
        tmp_path / "export", encoder, encoder=encoder, contract=contract(), training=training,
        title="A test",
    )  # fmt: skip
    return tmp_path / "export", encoder


def test_reload_is_bit_identical_also_in_a_new_process(export, tmp_path):
    folder, encoder = export
    probe = torch.randn(1, 1, 16, 16, 16)
    save_file({"probe": probe}, tmp_path / "probe.safetensors")
    script = (
        "import sys, medssl; from safetensors.torch import load_file, save_file\n"
        "encoder, _ = medssl.load_encoder(sys.argv[1])\n"
        "import torch; torch.set_num_threads(1)\n"
        "maps = encoder(load_file(sys.argv[2])['probe'])\n"
        "save_file({str(i): m.contiguous() for i, m in enumerate(maps)}, sys.argv[3])\n"
    )
    files = [str(folder), str(tmp_path / "probe.safetensors"), str(tmp_path / "maps.safetensors")]
    subprocess.run([sys.executable, "-c", script, *files], check=True)
    maps = load_file(files[2])
    with torch.no_grad():
        expected = encoder.eval()(probe)
    assert len(maps) == len(expected)
    assert all(torch.equal(maps[str(i)], m) for i, m in enumerate(expected))


def test_loaded_encoder_is_frozen_and_in_evaluation_mode(export):
    encoder, _ = medssl.load_encoder(export[0])
    assert not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())


def test_preprocessing_is_part_of_the_golden_features(export):
    folder, _ = export
    assert verify_export(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["input"]["recipe"]["spacing_mm"] = [4.0, 4.0, 4.0]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsMismatchError, match="preprocessing or the network changed"):
        verify_export(folder)


def test_preprocess_turns_and_respaces(export):
    _, preprocess = load_encoder(export[0])
    volume = golden_volume()
    tensor = preprocess(volume)
    assert tensor.shape == (1, 1, 48, 48, 32)
    turned = Volume(volume.data[::-1].copy(), volume.affine @ flip_of_first_axis(48))
    assert torch.equal(preprocess(turned), tensor)
    assert tensor.min() >= -1.0
    assert tensor.max() <= 1.0


def flip_of_first_axis(count):
    import numpy as np

    matrix = np.diag([-1.0, 1.0, 1.0, 1.0])
    matrix[0, 3] = count - 1
    return matrix


def test_planar_encoder_gets_slices(tmp_path):
    encoder = small_encoder(dims=2)
    training = TrainingRecord("mae_cnn", 10, 0, 5, 4, "ab")
    write_export(
        tmp_path / "export", encoder, encoder=encoder, contract=contract(2), training=training,
        title="Planar",
    )  # fmt: skip
    loaded, preprocess = load_encoder(tmp_path / "export")
    slices = preprocess(golden_volume())
    assert slices.shape == (32, 1, 48, 48)
    assert loaded.embed(slices).shape == (32, 8)


def test_no_pickle_in_an_export(export):
    assert {p.name for p in export[0].iterdir()} == {
        "encoder.safetensors", "manifest.json", "README.md",
    }  # fmt: skip


def test_flipped_bit_is_refused(export):
    path = export[0] / "encoder.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(WeightsMismatchError, match="damaged"):
        medssl.load_encoder(export[0])


def rewrite(folder, tensors):
    """Put other tensors into an export, with a manifest that agrees with the file."""
    path = folder / "encoder.safetensors"
    save_file(tensors, path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["file"].update(sha256=sha256_of(path), bytes=path.stat().st_size, tensors=len(tensors))
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_missing_tensor_names_it_and_its_nearest(export):
    folder, _ = export
    tensors = load_file(folder / "encoder.safetensors")
    name = next(n for n in tensors if n.endswith("conv1.conv.weight"))
    tensors[name.replace("conv1", "conv_1")] = tensors.pop(name)
    rewrite(folder, tensors)
    with pytest.raises(WeightsMismatchError, match=r"1 missing: .*conv1.*did you mean .*conv_1"):
        medssl.load_encoder(folder)


def test_wrong_shape_is_named(export):
    folder, _ = export
    tensors = load_file(folder / "encoder.safetensors")
    name = next(n for n in tensors if n.endswith("conv1.conv.weight"))
    tensors[name] = tensors[name][:1].clone()
    rewrite(folder, tensors)
    with pytest.raises(WeightsMismatchError, match=r"is \(1, .*expected"):
        medssl.load_encoder(folder)


def test_leftovers_must_be_named_by_the_caller():
    encoder = small_encoder()
    tensors = {**encoder.state_dict(), "head.weight": torch.zeros(1)}
    with pytest.raises(WeightsMismatchError, match=r"1 unexpected: head\.weight"):
        load_state(encoder, tensors)
    assert load_state(encoder, tensors, drop=["head.*"]).dropped == ("head.weight",)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_what_is_no_export_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="export"):
        medssl.load_encoder(tmp_path / name)


def test_network_whose_state_is_not_in_its_tensors_is_refused_before_training(tmp_path):
    encoder = small_encoder()
    forward = type(encoder).forward

    class Forgetful(type(encoder)):
        gain = 1.0

        def forward(self, x):
            return [m * self.gain for m in forward(self, x)]

    encoder.__class__ = Forgetful
    encoder.gain = 2.0
    training = TrainingRecord("mae_cnn", 10, 0, 5, 4, "ab")
    with pytest.raises(WeightsMismatchError, match="other features after export"):
        write_export(
            tmp_path / "export", encoder, encoder=encoder, contract=contract(),
            training=training, title="x",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
