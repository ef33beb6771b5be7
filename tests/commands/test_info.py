"""What an installation has and what a machine can do."""

from __future__ import annotations

import pytest

import medssl
from medssl.commands.info import cache_folder, encoder_line, info


def test_info_shows_versions_devices_codecs_and_folders(capsys):
    found = info()
    said = capsys.readouterr().out
    assert list(found) == ["versions", "devices", "DICOM codecs", "folders"]
    assert found["versions"]["medssl"] in said
    assert "cores" in found["devices"]["cpu"]
    assert found["DICOM codecs"]["RLE"].startswith("yes")
    assert all(value.startswith(("yes", "no; pip")) for value in found["DICOM codecs"].values())


def test_the_cost_of_an_encoder_is_told():
    line = encoder_line("resnet18")
    assert line.startswith("33.0 M parameters, 26 GFLOP, 0.11 GB of activations")


@pytest.mark.slow
def test_info_tells_what_every_encoder_costs():
    assert list(info(encoders=True)["encoders"]) == medssl.list_encoders()


def test_info_says_what_each_method_learns_from(capsys):
    found = info(methods=True)["methods"]
    assert list(found) == medssl.list_methods()
    assert found["voco"] == "VoCo: where in the body does this crop come from?"
    assert "where in the body" in capsys.readouterr().out


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path / "zoo"))
    assert cache_folder() == tmp_path / "zoo"
    monkeypatch.delenv("MEDSSL_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "medssl"
