"""Weights as nnU-Net reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from handed_over import WINDOW, encoder_export, segmentation_export
from nnunet_network import ResidualUNet, load_pretrained

from medssl.cli import main
from medssl.encoders import build_encoder
from medssl.weights.formats.nnunet_names import primus_weights
from medssl.weights.formats.nnunet_plans import adaptation_plan
from medssl.weights.formats.source import Source
from medssl.weights.manifest import read_manifest
from medssl.weights.pickled import load_pickled

STAGES = {"features": (4, 8, 12), "blocks": (1, 2, 1)}
THICK = {2: ((1, 1), (2, 2), (2, 1)), 3: ((1, 1, 1), (2, 2, 2), (2, 1, 2))}


def handed_over(folder, out):
    assert main(["export", str(folder), "--to", "nnunet", "--out", str(out)]) == 0
    (path,) = out.rglob("checkpoint_final.pth")
    return load_pickled(path)


def build(plan, classes=2):
    architecture = plan["architecture_plans"]
    assert architecture["arch_class_name"].endswith(".ResidualEncoderUNet")
    network = ResidualUNet(
        architecture["arch_kwargs"],
        architecture["arch_kwargs_requiring_import"],
        plan["pretrain_num_input_channels"],
        classes,
    )
    return network.eval()


def turned(x):
    """Return an image or a map with its axes in nnU-Net's order, or back."""
    return x.permute(0, 1, *reversed(range(2, x.ndim)))


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_encoder_loads_by_their_rules_and_gives_the_same_features(tmp_path, dims, channels):
    folder, encoder = encoder_export(
        tmp_path, "resenc_s", dims=dims, channels=channels, stage_strides=THICK[dims], **STAGES
    )
    checkpoint = handed_over(folder, tmp_path / "out")
    network = load_pretrained(build(checkpoint["nnssl_adaptation_plan"]), checkpoint)
    image = torch.randn(2, channels, *WINDOW[dims])
    for ours, theirs in zip(encoder(image), network.encoder(turned(image)), strict=True):
        torch.testing.assert_close(turned(theirs), ours, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_turning_the_axes_features_are_others(tmp_path):
    folder, encoder = encoder_export(tmp_path, "resenc_s", **STAGES)
    checkpoint = handed_over(folder, tmp_path / "out")
    network = load_pretrained(build(checkpoint["nnssl_adaptation_plan"]), checkpoint)
    image = torch.randn(1, 1, *WINDOW[3])
    assert not torch.allclose(network.encoder(image)[-1], encoder(image)[-1], atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("deep", [True, False], ids=["deep supervision", "finest alone"])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_fine_tuned_network_is_theirs_as_a_whole(tmp_path, dims, deep):
    folder, model = segmentation_export(
        tmp_path, dims=dims, deep_supervision=deep, stage_strides=THICK[dims], **STAGES
    )
    out = tmp_path / "out"
    checkpoint = handed_over(folder, out)
    plans = json.loads((out / "plans.json").read_text())
    (configuration,) = plans["configurations"].values()
    architecture = configuration["architecture"]
    network = ResidualUNet(architecture["arch_kwargs"], architecture["_kw_requires_import"], 1, 3)
    network.load_state_dict(checkpoint["network_weights"], strict=True)
    image = torch.randn(1, 1, *WINDOW[dims])
    answer = turned(network.eval()(turned(image)))
    torch.testing.assert_close(answer, model(image), rtol=1e-4, atol=1e-4)
    assert (out / "fold_all" / "checkpoint_final.pth").is_file()
    assert checkpoint["init_args"]["configuration"] in plans["configurations"]


def test_each_tensor_is_stored_once_under_all_its_names(tmp_path):
    folder, _ = segmentation_export(tmp_path, **STAGES)
    weights = handed_over(folder, tmp_path / "out")["network_weights"]
    places = {
        weights[name].data_ptr()
        for name in (
            "encoder.stem.convs.0.conv.weight",
            "encoder.stem.convs.0.all_modules.0.weight",
            "decoder.encoder.stem.convs.0.conv.weight",
        )
    }
    assert len(places) == 1


def test_the_plan_says_what_it_must(tmp_path):
    folder, _ = encoder_export(tmp_path, "resenc_s", **STAGES)
    plan = handed_over(folder, tmp_path / "out")["nnssl_adaptation_plan"]
    assert plan == json.loads((tmp_path / "out" / "adaptation_plan.json").read_text())
    assert plan["key_to_encoder"] == "encoder.stages"
    assert plan["key_to_stem"] == "encoder.stem"
    assert plan["key_to_lpe"] is None
    assert plan["recommended_downstream_patchsize"] == [24, 8, 16]
    (configuration,) = plan["pretrain_plan"]["configurations"].values()
    assert configuration["patch_size"] == [24, 8, 16]
    assert configuration["spacing"] == [3.0, 2.0, 2.0]


def test_their_ct_normalisation_is_our_window(tmp_path):
    from medssl.store.recipe import Recipe, Window

    window = Window(-175, 250)
    folder, _ = segmentation_export(tmp_path, recipe={"ct": window}, **STAGES)
    handed_over(folder, tmp_path / "out")
    plans = json.loads((tmp_path / "out" / "plans.json").read_text())
    (configuration,) = plans["configurations"].values()
    assert configuration["normalization_schemes"] == ["CTNormalization"]
    figures = plans["foreground_intensity_properties_per_channel"]["0"]
    hounsfield = np.array([-1000, -175, 0, 37, 250, 900], np.int16)
    clipped = np.clip(hounsfield, figures["percentile_00_5"], figures["percentile_99_5"])
    theirs = (clipped - figures["mean"]) / figures["std"]
    ours = Recipe(ct=window).ct.coding().decode(hounsfield)
    np.testing.assert_allclose(theirs, ours, atol=1e-6)


def test_labels_are_numbered_without_gaps_and_their_values_kept_beside(tmp_path):
    folder, _ = segmentation_export(tmp_path, **STAGES)
    handed_over(folder, tmp_path / "out")
    dataset = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert dataset["labels"] == {"background": 0, "liver": 1, "spleen": 2}
    record = json.loads((tmp_path / "out" / "handover.json").read_text())
    assert record["label_values"] == {"liver": 1, "spleen": 5}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"features": (4, 6, 8), "blocks": (1, 1, 1)}, "other widths"),
        ({**STAGES, "recipe": {"spacing_mm": None}}, "voxel size of each scan"),
    ],
)
def test_a_network_with_no_place_there_is_handed_over_as_encoder(tmp_path, capsys, options, reason):
    folder, _ = segmentation_export(tmp_path, **options)
    checkpoint = handed_over(folder, tmp_path / "out")
    assert reason in capsys.readouterr().out
    assert not (tmp_path / "out" / "plans.json").exists()
    load_pretrained(build(checkpoint["nnssl_adaptation_plan"]), checkpoint)


@torch.no_grad()
@pytest.mark.parametrize("second_axis_first", [True, False])
def test_primus_gives_the_same_features_with_the_first_axis_first(second_axis_first):
    sizes = {"width": 48, "depth": 4, "heads": 4, "token": 4}
    encoder = build_encoder(
        "primus_s", patch=WINDOW[3], second_axis_first=second_axis_first, **sizes
    ).eval()
    torch.nn.init.normal_(encoder.pos_embed)
    theirs = build_encoder(
        "primus_s", patch=tuple(reversed(WINDOW[3])), second_axis_first=False, **sizes
    ).eval()
    weights = primus_weights(encoder)
    theirs.load_state_dict({n.removeprefix("eva."): t for n, t in weights.items()}, strict=True)
    assert {n.partition(".")[0] for n in weights} == {"eva", "down_projection"}
    image = torch.randn(1, 1, *WINDOW[3])
    expected = encoder(image)[-1]
    found = turned(theirs(turned(image))[-1])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_plan_of_primus_names_its_size_and_its_positions(tmp_path):
    folder, _ = encoder_export(tmp_path, "resenc_s", **STAGES)
    manifest = read_manifest(folder / "manifest.json")
    with torch.device("meta"):
        encoder = build_encoder("primus_m", patch=WINDOW[3])
    plan = adaptation_plan(Source(folder, manifest, encoder, encoder))
    assert plan["architecture_plans"]["arch_class_name"] == "PrimusM"
    assert (plan["key_to_encoder"], plan["key_to_stem"]) == ("eva", "down_projection")
    assert plan["keys_to_in_proj"] == ["down_projection.proj"]
    assert plan["key_to_lpe"] == "eva.pos_embed"


@pytest.mark.parametrize(("name", "said"), [("resnet18", "no network like"), ("primus_s", "sizes")])
def test_what_nnunet_has_no_network_for_is_refused(tmp_path, capsys, name, said):
    folder, _ = encoder_export(tmp_path, name)
    assert main(["export", str(folder), "--to", "nnunet", "--out", str(tmp_path / "out")]) == 3
    error = capsys.readouterr().err
    assert said in error
    assert "torch-export" in error
    assert not (tmp_path / "out").exists()


@torch.no_grad()
def test_the_library_itself_takes_it(tmp_path):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    import pydoc

    folder, model = segmentation_export(tmp_path, **STAGES)
    checkpoint = handed_over(folder, tmp_path / "out")
    architecture = checkpoint["nnssl_adaptation_plan"]["architecture_plans"]
    kinds = dict(architecture["arch_kwargs"])
    for name in architecture["arch_kwargs_requiring_import"]:
        kinds[name] = pydoc.locate(kinds[name]) if kinds[name] else None
    network = unet.ResidualEncoderUNet(input_channels=1, num_classes=3, **kinds).eval()
    network.load_state_dict(checkpoint["network_weights"], strict=True)
    image = torch.randn(1, 1, *WINDOW[3])
    torch.testing.assert_close(turned(network(turned(image))), model(image), rtol=1e-4, atol=1e-4)
