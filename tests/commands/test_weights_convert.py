"""``medssl weights convert``: from a foreign file to an export that loads, or to a refusal."""

import torch
from monai.networks.nets.swin_unetr import SwinUNETR

from medssl.cli import main
from medssl.weights.load import load_encoder, verify_export
from medssl.weights.manifest import read_manifest


def publish(path):
    network = SwinUNETR(
        in_channels=1, out_channels=2, feature_size=12, num_heads=(1, 2, 2, 4), depths=(1, 1, 1, 1)
    )
    state = {"module.backbone." + n: t for n, t in network.state_dict().items()}
    torch.save({"net": state, "epoch": 3}, path)
    return network


@torch.no_grad()
def test_a_published_file_becomes_an_export(tmp_path, capsys):
    network = publish(tmp_path / "suprem.pth")
    out = tmp_path / "out"
    assert main(["weights", "convert", str(tmp_path / "suprem.pth"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "family suprem" in said
    assert "100.0 % of the encoder" in said
    verify_export(out)
    encoder, preprocess = load_encoder(out)
    assert torch.equal(
        encoder.state_dict()["patch_embed.proj.weight"],
        network.state_dict()["swinViT.patch_embed.proj.weight"],
    )
    manifest = read_manifest(out / "manifest.json")
    assert manifest.encoder.config["merge_order"] == "published"
    assert manifest.origin.converter == "suprem"
    assert preprocess.recipe.ct.low == -175
    assert preprocess.recipe.ct.floor == 0.0
    assert preprocess.recipe.ct.coding().decode_one(-175) == 0.0
    assert abs(preprocess.recipe.ct.coding().decode_one(250) - 1.0) < 1e-6


def test_a_damaged_file_is_refused_and_leaves_nothing(tmp_path, capsys):
    path = tmp_path / "suprem.pth"
    publish(path)
    path.write_bytes(path.read_bytes()[:5000])
    assert main(["weights", "convert", str(path), "--out", str(tmp_path / "out")]) == 3
    assert "no whole weights file" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["suprem.pth"]
