import json

import pytest

from medssl.errors import InputError
from medssl.weights.manifest import (
    EncoderRecord,
    FileRecord,
    GoldenRecord,
    InputContract,
    Manifest,
    TaskRecord,
    TrainingRecord,
    read_manifest,
    schema,
)
from medssl.weights.records import from_json, to_json


def manifest(**changes):
    fields = {
        "id": "local/voco",
        "title": "VoCo",
        "created": "2026-11-21",
        "medssl_version": "0.1.0",
        "file": FileRecord("encoder.safetensors", "ab", 12, 3),
        "encoder": EncoderRecord("resenc_s", {"spatial_dims": 3}, (8, 16)),
        "input": InputContract("ct", {"spacing_mm": [1.5, 1.5, 1.5]}, "cd", (64, 64, 64)),
        "training": TrainingRecord("voco", 10, 0, 5, 4, "ef"),
        "golden": GoldenRecord("waves-48", (0.5, 1.0)),
    }
    return Manifest(**{**fields, **changes})


@pytest.mark.parametrize("task", [None, TaskRecord("segmentation", {"liver": 1})])
def test_round_trip_through_text(tmp_path, task):
    first = manifest(task=task)
    (tmp_path / "manifest.json").write_text(first.to_text())
    assert read_manifest(tmp_path / "manifest.json") == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(titel="x"), 'unknown key "titel"; did you mean "title"'),
        (lambda d: d.pop("golden"), "lacks golden"),
        (lambda d: d["file"].update(bytes="12"), "manifest.file.bytes is '12'; expected a value"),
        (lambda d: d["input"].update(modality="xray"), "expected one of"),
        (lambda d: d["input"].update(patch=64), "expected a list"),
        (lambda d: d.update(encoder=[]), "expected an object"),
    ],
)
def test_wrong_manifest_is_refused_with_the_place(change, message):
    data = json.loads(manifest().to_text())
    change(data)
    with pytest.raises(InputError, match=message):
        from_json(Manifest, data)


def test_missing_and_broken_manifest(tmp_path):
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        read_manifest(tmp_path / "manifest.json")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        read_manifest(tmp_path / "manifest.json")


def test_whole_number_is_a_float_too():
    data = json.loads(manifest().to_text())
    data["golden"]["features"] = [1, 2]
    assert from_json(Manifest, data).golden.features == (1.0, 2.0)


def test_schema_names_every_field():
    assert set(schema()["properties"]) == set(to_json(manifest()))
