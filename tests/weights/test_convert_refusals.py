"""What is wrong with a file is said in one sentence, with exit code 3, and nothing stays behind."""

import pytest
import torch
from safetensors.torch import save_file

from medssl.cli import main
from medssl.encoders import build_encoder
from medssl.weights.load import load_encoder, verify_export

FAMILIES = {
    "resenc": ("resenc_s", {"features": (4, 6), "blocks": (1, 1)}, "encoder."),
    "plain": ("plainconv", {"features": (4, 6), "convolutions": (1, 2)}, "encoder."),
    "ct_fm": ("segresnet_ds", {"width": 8, "blocks": (1, 1)}, "encoder."),
    "segresnet": ("segresnet", {"width": 8, "blocks": (1, 1)}, "module."),
    "genesis": ("unet_genesis", {"width": 4}, "module."),
    "resnet": ("resnet10", {"spatial_dims": 2, "widen": 0.125}, "encoder_q."),
}


def publish(family):
    """Return a file's state dict, and the names of it that the encoder needs."""
    name, options, prefix = FAMILIES[family]
    torch.manual_seed(0)
    state = {prefix + n: t for n, t in build_encoder(name, **options).state_dict().items()}
    needed = [n for n, t in state.items() if t.ndim and not n.endswith("num_batches_tracked")]
    return state, needed


def run(tmp_path, capsys, state):
    """Convert a file, and return the exit code and the last words."""
    save_file({n: t.contiguous().clone() for n, t in state.items()}, tmp_path / "w.safetensors")
    out = tmp_path / "made" / "out"
    code = main(["weights", "convert", str(tmp_path / "w.safetensors"), "--out", str(out)])
    return code, capsys.readouterr().err.strip()


def left(tmp_path):
    return [path.name for path in tmp_path.iterdir()]


def half(state, needed):
    return {n: t for n, t in state.items() if n not in needed[-3:]}


def cut(state, needed):
    return {**state, needed[-1]: state[needed[-1]][:1]}


def broken(state, needed):
    return {**state, needed[0]: state[needed[0]] * float("nan")}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spoil", [half, cut, broken])
def test_a_spoilt_file_is_refused_whatever_its_family(tmp_path, capsys, family, spoil):
    code, said = run(tmp_path, capsys, spoil(*publish(family)))
    assert code == 3
    assert left(tmp_path) == ["w.safetensors"]
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_file_unspoilt_is_converted(tmp_path, capsys, family):
    code, said = run(tmp_path, capsys, publish(family)[0])
    assert code == 0, said
    verify_export(tmp_path / "made" / "out")


@pytest.mark.parametrize(
    "state",
    [
        {"model.embed_tokens.weight": torch.ones(8, 4), "lm_head.weight": torch.ones(8, 4)},
        {"decoder.stages.0.convs.0.conv.weight": torch.ones(2, 2, 3, 3, 3)},
        {"w": torch.tensor(1.0)},
    ],
    ids=["language model", "decoder alone", "one number"],
)
def test_a_wrong_family_is_refused(tmp_path, capsys, state):
    code, said = run(tmp_path, capsys, state)
    assert code == 3
    assert "no family known here" in said
    assert left(tmp_path) == ["w.safetensors"]


@torch.no_grad()
def test_tensors_with_several_names_and_one_storage_are_loaded_once_each(tmp_path, capsys):
    state, _ = publish("resenc")
    tied = {**state, **{"decoder." + n: t for n, t in state.items()}}
    tied |= {n.replace(".conv.", ".all_modules.0."): t for n, t in tied.items()}
    torch.save({"network_weights": tied, "epoch": torch.tensor(3)}, tmp_path / "w.pth")
    out = tmp_path / "out"
    assert main(["weights", "convert", str(tmp_path / "w.pth"), "--out", str(out)]) == 0
    assert f"loaded {len(state)} tensors, 100.0 %" in capsys.readouterr().out
    encoder, _ = load_encoder(out)
    owners = {p.data_ptr() for p in encoder.parameters()}
    assert len(owners) == len(state)
