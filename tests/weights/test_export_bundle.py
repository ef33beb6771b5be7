"""Weights as a MONAI bundle, read where medssl is not."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from handed_over import (
    WINDOW,
    encoder_export,
    load_source,
    run_alone,
    segmentation_export,
    small_encoder,
)
from monai.data import MetaTensor
from safetensors.torch import load_file, save_file

import medssl
from medssl.cli import main
from medssl.commands.embed import mean_vector
from medssl.encoders import build_encoder
from medssl.tasks.inference import window_mean
from medssl.tasks.networks import ClassificationNetwork
from medssl.weights.formats import bundled
from medssl.weights.formats.monai_networks import monai_network
from medssl.weights.formats.preprocessing import mean_difference
from medssl.weights.golden import golden_volume

FEATURES = """
from monai.bundle import ConfigWorkflow
from safetensors.torch import load_file, save_file
for root, image, maps in zip(*[iter(sys.argv[1:])] * 3):
    sys.path.insert(0, root)
    workflow = ConfigWorkflow(
        root + "/configs/inference.json", workflow_type="infer", bundle_root=root
    )
    network = workflow.parser.get_parsed_content("network")
    with torch.no_grad():
        found = network(load_file(image)["image"])
    save_file({str(i): t.contiguous() for i, t in enumerate(found)}, maps)
"""

WORKFLOW = """
from monai.bundle import ConfigWorkflow
for root, scans, written in zip(*[iter(sys.argv[1:])] * 3):
    workflow = ConfigWorkflow(
        root + "/configs/inference.json",
        workflow_type="infer",
        bundle_root=root,
        dataset_dir=scans,
        output_dir=written,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
assert "medssl" not in sys.modules
"""


def bundle(folder, out):
    assert main(["export", str(folder), "--to", "monai-bundle", "--out", str(out)]) == 0
    return out


def scans(folder):
    """Write the synthetic volume, whose axes point left, anterior, superior, as NIfTI."""
    folder.mkdir()
    volume = golden_volume()
    nib.save(nib.Nifti1Image(volume.data, volume.affine), folder / "scan.nii.gz")
    return folder


@torch.no_grad()
def test_networks_give_their_features_in_a_process_without_medssl(tmp_path):
    """One of MONAI's classes in 3D, and a program in 2D."""
    words, images, encoders = [], [], []
    for name, dims in (("resnet10", 3), ("resenc_s", 2)):
        (tmp_path / name).mkdir()
        folder, encoder = encoder_export(tmp_path / name, name, dims=dims)
        image = torch.randn(2, 1, *WINDOW[dims])
        save_file({"image": image}, tmp_path / name / "image.safetensors")
        words += [bundle(folder, tmp_path / name / "out"), tmp_path / name / "image.safetensors"]
        words += [tmp_path / name / "maps.safetensors"]
        images.append(image)
        encoders.append(encoder)
    run_alone(FEATURES, *words)
    for image, encoder, file in zip(images, encoders, words[2::3], strict=True):
        given = load_file(file)
        assert len(given) == len(encoder.channels)
        for index, expected in enumerate(encoder(image)):
            torch.testing.assert_close(given[str(index)], expected, rtol=1e-5, atol=1e-5)


def test_a_scan_becomes_the_features_and_masks_that_medssl_gives(tmp_path):
    """The whole way from a file, whose axes are not ours, where medssl is not."""
    same_grid = {"spacing_mm": None}
    made = [encoder_export(folder_in(tmp_path, "encoder"), "resnet10", recipe=same_grid)[0]]
    for dims in (2, 3):
        place = folder_in(tmp_path, f"masks_{dims}")
        made.append(segmentation_export(place, dims=dims, recipe=same_grid)[0])
    outs = [bundle(folder, folder.parent / "out") for folder in made]
    scan = scans(tmp_path / "scans") / "scan.nii.gz"
    run_alone(WORKFLOW, *(w for o in outs for w in (o, scan.parent, o.parent / "written")))
    with (made[0].parent / "written" / "features.csv").open() as file:
        _, row = csv.reader(file)
    encoder, preprocess = medssl.load_encoder(made[0])
    expected = mean_vector(encoder, preprocess(scan))
    assert row[0] == "scan.nii.gz"
    np.testing.assert_allclose([float(v) for v in row[1:]], expected.numpy(), rtol=1e-4, atol=1e-5)
    for folder in made[1:]:
        found = nib.load(folder.parent / "written" / "scan_seg.nii.gz")
        mask, expected = np.asarray(found.dataobj), medssl.load_model(folder).predict(scan)
        assert mask.shape == expected.shape
        np.testing.assert_allclose(found.affine, golden_volume().affine, atol=1e-4)
        assert set(np.unique(mask)) <= {0, 1, 5}
        assert len(np.unique(mask)) > 1
        assert (mask == expected).mean() > 0.999


def folder_in(tmp_path, name):
    (tmp_path / name).mkdir()
    return tmp_path / name


def required(metadata):
    """Check the fields of MONAI's ``meta_schema_20240725``, written down from it.

    ``python -m monai.bundle verify_metadata`` downloads the schema, which a test must not.
    """
    texts = ["schema", "version", "monai_version", "pytorch_version", "numpy_version"]
    texts += ["task", "description", "authors", "copyright"]
    assert all(isinstance(metadata[name], str) and metadata[name] for name in texts)
    assert isinstance(metadata["required_packages_version"], dict)
    assert isinstance(metadata["changelog"], dict)
    assert all(isinstance(text, str) for text in metadata["references"])
    for side in ("inputs", "outputs"):
        tensors = metadata["network_data_format"][side]
        assert tensors
        for tensor in tensors.values():
            assert isinstance(tensor["type"], str)
            assert isinstance(tensor["format"], str)
            assert isinstance(tensor["dtype"], str)
            assert type(tensor["num_channels"]) is int
            assert all(type(edge) in (int, str) for edge in tensor["spatial_shape"])
            assert all(isinstance(value, int | float) for value in tensor["value_range"])
    return metadata


def test_the_metadata_has_what_the_schema_asks_for(tmp_path):
    folder, _ = segmentation_export(tmp_path)
    metadata = required(
        json.loads((bundle(folder, tmp_path / "out") / "configs" / "metadata.json").read_text())
    )
    outputs = metadata["network_data_format"]["outputs"]
    assert outputs["pred"]["channel_def"] == {"0": "background", "1": "liver", "2": "spleen"}
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == [16, 8, 24]
    broken = {**metadata, "authors": None}
    with pytest.raises(AssertionError):
        required(broken)


def test_the_metadata_of_an_encoder_names_each_map(tmp_path):
    folder, encoder = encoder_export(tmp_path, "segresnet")
    metadata = required(
        json.loads((bundle(folder, tmp_path / "out") / "configs" / "metadata.json").read_text())
    )
    outputs = metadata["network_data_format"]["outputs"]
    assert [o["num_channels"] for o in outputs.values()] == list(encoder.channels)
    assert outputs["features_1"]["spatial_shape"] == [8, 4, 12]


MONAI_CASES = [
    ("resnet18", {}),
    ("resnet50", {}),
    ("segresnet", {}),
    ("segresnet_ds", {}),
    ("swin_tiny", {"version": 1}),
    ("swin_tiny", {"version": 2, "normalise": False}),
    ("vit_tiny", {"heads": 2, "width": 24}),
]


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("name", "options"), MONAI_CASES, ids=str)
def test_names_load_into_monais_own_class_unchanged(name, options, dims):
    from monai.bundle import ConfigParser

    from medssl.encoders import ENCODERS

    tiny = {**ENCODERS[name].family.tiny(), **options}
    encoder = build_encoder(name, spatial_dims=dims, patch=WINDOW[dims], **tiny).eval()
    found = monai_network(encoder)
    built = ConfigParser(
        {"network": {"_target_": found.target, **found.arguments}}
    ).get_parsed_content("network")
    assert type(built).__module__.startswith("monai.")
    state = encoder.state_dict()
    missing, unexpected = built.load_state_dict(state, strict=False)
    assert not unexpected
    decoder = ("up_layers.", "up_samples.", "conv_final.")
    assert all(key.startswith(decoder) for key in missing)
    assert not missing or name == "segresnet"
    features = bundled.Features(built, found.family, **found.reading).eval()
    image = torch.randn(2, 1, *WINDOW[dims])
    for given, expected in zip(features(image), encoder(image), strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"dilated": True}),
        ("resnet18", {"norm": "instance"}),
        ("swin_tiny", {"merge_order": "published"}),
        ("resenc_s", {}),
        ("primus_s", {}),
        ("unet_genesis", {}),
    ],
)
def test_what_monai_computes_otherwise_is_no_class_of_monai(name, options):
    from medssl.encoders import ENCODERS

    tiny = {**ENCODERS[name].family.tiny(), **options}
    assert monai_network(build_encoder(name, patch=WINDOW[3], **tiny)) is None


def test_preprocessing_differs_by_what_is_told(tmp_path):
    folder, _ = encoder_export(tmp_path, "resnet10", recipe={"spacing_mm": None})
    assert mean_difference(load_source(folder)) < 1e-6
    shutil.rmtree(folder)
    folder, _ = encoder_export(tmp_path, "resnet10", recipe={"spacing_mm": (3.0, 3.0, 3.0)})
    gap = mean_difference(load_source(folder))
    assert 0 < gap < 0.02
    out = bundle(folder, tmp_path / "out")
    assert json.loads((out / "handover.json").read_text())["preprocessing_mean_difference"] == gap
    assert "does not smooth" in (out / "README.md").read_text()


def test_mr_is_told_to_differ(tmp_path):
    folder, _ = encoder_export(tmp_path, "resnet10", recipe={"modality": "mr"})
    out = bundle(folder, tmp_path / "out")
    assert "brighter than the mean" in (out / "README.md").read_text()
    values = torch.cat([torch.zeros(600), 100 + 10 * torch.randn(400)]).view(1, 10, 10, 10)
    body = bundled.robust_z(values)[values > 50]
    assert abs(float(body.mean())) < 0.05
    assert abs(float(body.std()) - 1) < 0.05


def test_a_small_image_is_surrounded_as_in_training():
    from medssl.io.geometry import pad_to

    image = torch.randn(1, 1, 5, 8, 3)
    padded, inside = bundled.pad(image, (8, 8, 8))
    expected, _ = pad_to(image.numpy(), (8, 8, 8), float(image.min()))
    np.testing.assert_array_equal(padded.numpy(), expected)
    assert torch.equal(padded[(slice(None), slice(None), *inside)], image)


@torch.no_grad()
def test_classes_have_the_probabilities_that_medssl_gives(tmp_path):
    network = ClassificationNetwork(small_encoder("resenc_s", 3), classes=2).eval()
    image = torch.randn(1, 20, 6, 30)
    item = {"image": image, "source": MetaTensor(image, meta={"filename_or_obj": "a/scan.nii.gz"})}
    path = bundled.write_classes([item], network, WINDOW[3], str(tmp_path))
    with Path(path).open() as file:
        _, row = csv.reader(file)
    expected = window_mean(network, image, patch=WINDOW[3], pad_value=float(image.min()))
    assert row[0] == "scan.nii.gz"
    np.testing.assert_allclose([float(v) for v in row[1:]], expected.numpy(), rtol=1e-5)


def test_nothing_of_medssl_is_imported_by_what_is_copied(tmp_path):
    folder, _ = encoder_export(tmp_path, "resnet10")
    out = bundle(folder, tmp_path / "out")
    assert "import medssl" not in (out / "scripts" / "bundled.py").read_text()
    assert "from medssl" not in (out / "scripts" / "bundled.py").read_text()
