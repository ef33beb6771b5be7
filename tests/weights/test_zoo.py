"""The zoo tells the truth about itself, and its ids are weights like any other."""

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import medssl
from medssl.cli import main
from medssl.encoders import build_encoder, list_encoders
from medssl.errors import InputError, UnknownNameError, WeightsMismatchError
from medssl.weights.entry import entry_schema
from medssl.weights.fetch import fetched_path, is_fetched
from medssl.weights.golden import golden_features
from medssl.weights.load import find_export, load_encoder, verify_export
from medssl.weights.manifest import read_manifest
from medssl.weights.zoo import find_entry, list_weights, zoo_entries, zoo_folder
from medssl.weights.zoo_card import zoo_card

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = zoo_entries()
MAY_BE_UNKNOWN = (
    "file.bytes",
    "file.sha256",
    "licence.weights",
    "licence.commercial_use",
    "region",
    "input.orientation",
    "input.spacing_mm",
    "input.intensity",
    "input.patch",
)


@cache
def families():
    """Return every name that a converter could give to what it reads."""
    trees = [ast.parse(p.read_text()) for p in (ROOT / "medssl/weights/convert").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return texts | {f"{name}_resnet" for name in texts}  # two words that are put together


def value_of(entry, field):
    for name in field.split("."):
        entry = getattr(entry, name)
    return entry


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub_home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MEDSSL_MIRROR", raising=False)
    return tmp_path / "home"


@pytest.fixture
def network():
    """Return a narrow ResNet-50 for photographs, as LVM-Med and many others published it."""
    torch.manual_seed(0)
    return build_encoder(
        "resnet50", spatial_dims=2, in_channels=3, layers=(1, 1, 1, 1), widen=1 / 16
    )


@pytest.fixture
def published(network, tmp_path):
    """Write it as its publishers do: flat, by torchvision's names."""
    save_file(network.state_dict(), tmp_path / "lvmmed_resnet.safetensors")
    return tmp_path / "lvmmed_resnet.safetensors"


@pytest.fixture
def given(published):
    """Return the words that bring it into the cache under its id."""
    return ["weights", "fetch", "lvm-med/resnet50", "--from", str(published)]


def test_the_schema_is_that_of_the_code():
    assert json.loads((ROOT / "model_zoo/entry.schema.json").read_text("utf-8")) == entry_schema()


def test_every_published_family_has_an_entry():
    wanted = {
        "monai", "voco", "vocomni", "suprem", "medicalnet", "models-genesis", "openmind", "3dino",
        "ct-fm", "lvm-med", "mae", "pcrlv2", "wolf",
    }  # fmt: skip
    assert wanted <= {name.split("/")[0] for name in ENTRIES}


PUBLISHED = [name for name, entry in ENTRIES.items() if entry.bundled is None]
BUNDLED = sorted(set(ENTRIES) - set(PUBLISHED))


@pytest.mark.parametrize("name", BUNDLED)
def test_what_comes_with_medssl_is_whole_and_small(name):
    entry = ENTRIES[name]
    folder = find_export(name)
    assert folder == zoo_folder() / entry.bundled
    assert verify_export(folder)
    file = read_manifest(folder / "manifest.json").file
    assert (file.name, file.bytes, file.sha256) == (
        entry.file.name,
        entry.file.bytes,
        entry.file.sha256,
    )
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_entry_is_complete_and_admits_what_is_unknown(name):
    entry = ENTRIES[name]
    assert entry.id == name
    assert re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", name)
    assert all(url.startswith("https://") for url in (*entry.file.urls, entry.file.page))
    assert entry.file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.file.sha256)
    assert entry.paper.startswith("https://")
    assert entry.repository.startswith("https://")
    admitted = {sentence.split(":")[0] for sentence in entry.unconfirmed}
    unknown = {field for field in MAY_BE_UNKNOWN if value_of(entry, field) is None}
    assert unknown <= admitted
    assert (entry.input.window is None) == (entry.input.scaled_to is None)


@pytest.mark.parametrize("name", list_weights(loadable=True))
def test_what_is_said_to_load_has_a_converter_and_an_encoder(name):
    entry = ENTRIES[name]
    assert entry.bundled is not None or entry.converter in families()
    assert entry.encoder in list_encoders()
    assert (entry.merge_order == "published") == entry.encoder.startswith("swin")


def test_cards_are_those_of_the_entries():
    cards = zoo_folder() / "cards"
    stale = [
        name
        for name, entry in ENTRIES.items()
        if (cards / f"{name}.md").read_text("utf-8") != zoo_card(entry)
    ]
    assert not stale, "write them anew: see model_zoo/README.md"
    written = {p.relative_to(cards).with_suffix("").as_posix() for p in cards.glob("*/*.md")}
    assert written == set(ENTRIES)


def test_an_installed_package_holds_the_zoo_where_it_is_looked_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["model_zoo"] == "medssl/weights/model_zoo"
    assert zoo_folder() in (ROOT / "model_zoo", ROOT / "medssl/weights/model_zoo")


def test_lists_are_filtered():
    assert medssl.list_weights() == list(ENTRIES)
    allowed = medssl.list_weights(modality="ct", commercial_use=True)
    assert "voco/b-ssl" in allowed
    assert all(
        ENTRIES[n].licence.commercial_use is True and "ct" in ENTRIES[n].modalities for n in allowed
    )
    assert "mae/vit-base" in list_weights(commercial_use=False)
    assert "monai/swinvit" not in list_weights(commercial_use=False)
    assert list_weights(encoder="swin_huge") == ["voco/h-ssl", "vocomni/h"]
    assert all(n.startswith(("lvm", "mae", "pcrl", "wolf")) for n in list_weights(spatial_dims=2))
    both = list_weights(loadable=True) + list_weights(loadable=False)
    assert sorted(both) == sorted(ENTRIES)
    with pytest.raises(UnknownNameError, match='did you mean "ct"'):
        list_weights(modality="cct")
    with pytest.raises(UnknownNameError, match='did you mean "voco/b-ssl"'):
        find_entry("voco/b_ssl")


def test_the_commands_tell_what_is_known(own_home, capsys):
    assert main(["weights", "list", "--encoder", "swin_huge"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"voco/h-ssl +ct +swin_huge +apache-2.0 +yes +3.4 GB", said)
    assert main(["weights", "list", "--modality", "mr", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"id", "loadable", "local", "traps"} <= set(told[0])
    assert all("mr" in entry["modalities"] for entry in told)
    assert main(["weights", "show", "voco/10k"]) == 0
    said = capsys.readouterr().out
    assert "MONAI from 1.5 on" in said
    assert "SHA-256 | not known" in said


@torch.no_grad()
def test_a_foreign_file_is_weights_and_is_converted_once(network, tmp_path, own_home):
    state = {f"online_network.encoder.{n}": t for n, t in network.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "byol.ckpt")
    encoder, preprocess = load_encoder(tmp_path / "byol.ckpt")
    assert preprocess.contract.patch == (224, 224)
    x = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(encoder.embed(x), network.eval().embed(x.repeat(1, 3, 1, 1)))
    folder = find_export(tmp_path / "byol.ckpt")
    assert folder.is_relative_to(own_home)
    before = (folder / "encoder.safetensors").stat().st_mtime_ns
    again, _ = load_encoder(str(tmp_path / "byol.ckpt"))
    assert (folder / "encoder.safetensors").stat().st_mtime_ns == before
    assert torch.equal(encoder.embed(x), again.embed(x))
    assert len(list((own_home / "weights" / "converted").glob("[!.]*"))) == 1


def test_a_refused_file_leaves_nothing(tmp_path, own_home):
    (tmp_path / "bad.pt").write_bytes(b"no weights at all")
    with pytest.raises(WeightsMismatchError, match=r"bad\.pt"):
        load_encoder(tmp_path / "bad.pt")
    assert not list((own_home / "weights" / "converted").glob("[!.]*"))


def test_an_id_is_weights_and_brings_its_licence_and_traps(given, own_home, capsys):
    assert main(given) == 3
    assert "--accept-unverified" in capsys.readouterr().err
    assert main([*given, "--accept-unverified"]) == 0
    assert is_fetched(find_entry("lvm-med/resnet50"))
    encoder, _ = load_encoder("lvm-med/resnet50")
    assert encoder.name == "resnet50"
    manifest = read_manifest(find_export("lvm-med/resnet50") / "manifest.json")
    assert manifest.id == "lvm-med/resnet50"
    assert manifest.origin.paper == "https://arxiv.org/abs/2306.11925"
    assert manifest.licence.commercial_use == "no"
    assert "Three channels" in manifest.limits


def test_a_command_takes_an_id_for_weights(given, own_home, tmp_path):
    assert main([*given, "--accept-unverified"]) == 0
    volume = np.random.default_rng(0).normal(0, 300, (20, 24, 4)).astype(np.int16)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "scan.nii.gz")
    out = tmp_path / "features.parquet"
    typed = ["embed", "--weights", "lvm-med/resnet50", "--input", str(tmp_path / "scan.nii.gz")]
    assert main([*typed, "--out", str(out)]) == 0
    assert len(pq.read_table(out).column("features")[0].as_py()) == 128


def test_what_is_not_here_says_how_to_get_it(own_home, capsys):
    assert (
        main(["embed", "--weights", "voco/b-ssl", "--input", __file__, "--out", "f.parquet"]) == 3
    )
    said = capsys.readouterr().err
    assert "medssl weights fetch voco/b-ssl --from FILE" in said
    assert not fetched_path(find_entry("voco/b-ssl")).exists()
    with pytest.raises(InputError, match='did you mean "voco/b-ssl"'):
        load_encoder("voco/b_ssl")


def test_golden_features_see_the_preprocessing(published, own_home, capsys):
    folder = find_export(published)
    encoder, preprocess = load_encoder(folder)
    golden = read_manifest(folder / "manifest.json").golden
    assert golden_features(encoder, preprocess) == pytest.approx(golden.features, abs=1e-5)

    def without(volume):
        return torch.from_numpy(volume.data.astype(np.float32)).permute(2, 0, 1)[:, None]

    assert golden_features(encoder, without) != pytest.approx(golden.features, abs=0.05)
    assert main(["weights", "verify", str(folder)]) == 0
    assert "golden features" in capsys.readouterr().out
    text = (folder / "manifest.json").read_text("utf-8")
    data = json.loads(text)
    data["input"]["recipe"]["spacing_mm"] = [4.0, 4.0, 4.0]
    (folder / "manifest.json").write_text(json.dumps(data))
    assert main(["weights", "verify", str(folder)]) == 3
    assert "preprocessing or the network changed" in capsys.readouterr().err


def test_an_own_run_says_which_command_takes_its_options(tmp_path, own_home):
    names = [f"layers{s}.0.blocks.0.attn.relative_position_bias_table" for s in (1, 2, 3, 4)]
    tensors = {f"swinViT.{name}": torch.zeros(2197, 3) for name in names}
    tensors["swinViT.patch_embed.proj.weight"] = torch.zeros(12, 1, 2, 2, 2)
    save_file(tensors, tmp_path / "run.safetensors")
    with pytest.raises(WeightsMismatchError, match=r"medssl weights convert run\.safetensors"):
        load_encoder(tmp_path / "run.safetensors")
