from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medssl.errors import VolumeReadError
from medssl.io.image2d import Image2DReader

READER = Image2DReader()
PIXELS = np.random.default_rng(0).integers(0, 255, (9, 6)).astype(np.uint8)


def code_of(path) -> str:
    with pytest.raises(VolumeReadError) as caught:
        READER.read(path)
    return caught.value.code


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("grey.png", PIXELS),
        ("deep.png", PIXELS.astype(np.uint16) * 200),
        ("real.tif", PIXELS.astype(np.float32) / 3),
        ("colour.png", np.repeat(PIXELS[..., None], 3, axis=2)),
        ("alpha.png", np.dstack([PIXELS, PIXELS, PIXELS, np.full_like(PIXELS, 255)])),
    ],
)
def test_x_runs_along_the_rows_of_the_picture(tmp_path, name, pixels):
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    volume = READER.read(path)
    expected = pixels if pixels.ndim == 2 else pixels[..., 0]
    assert np.array_equal(volume.data, expected.T)
    assert volume.fixes == ("orientation_unknown",)
    header = READER.read_header(path)
    assert (header.shape, header.dtype) == (volume.data.shape, str(volume.data.dtype))


def test_black_and_white_pictures_are_read(tmp_path):
    Image.fromarray(PIXELS > 100).save(tmp_path / "bits.png")
    assert np.array_equal(READER.read(tmp_path / "bits.png").data, (PIXELS > 100).T)


def test_jpeg_is_said_to_be_lossy(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
    assert READER.read(tmp_path / "a.jpg").fixes == ("orientation_unknown", "lossy")


def test_colours_series_and_damage_are_refused(tmp_path):
    colour = np.dstack([PIXELS, PIXELS // 2, PIXELS])
    Image.fromarray(colour).save(tmp_path / "colour.png")
    assert code_of(tmp_path / "colour.png") == "not_scalar"
    veiled = np.dstack([PIXELS, PIXELS, PIXELS, PIXELS])
    Image.fromarray(veiled).save(tmp_path / "veiled.png")
    assert code_of(tmp_path / "veiled.png") == "not_scalar"
    page = Image.fromarray(PIXELS)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    assert code_of(tmp_path / "pages.tif") == "time_series"
    (tmp_path / "page.png").write_text("<html>")
    assert code_of(tmp_path / "page.png") == "not_an_image"
    noise = np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "big.png")
    whole = (tmp_path / "big.png").read_bytes()
    (tmp_path / "big.png").write_bytes(whole[: len(whole) // 2])
    assert code_of(tmp_path / "big.png") in ("truncated", "corrupt")


def test_a_damaged_header_is_refused_and_a_huge_one_is_too_large(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    whole = path.read_bytes()
    for position in (11, 20):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert code_of(path) in ("corrupt", "not_an_image")
    Image.new("1", (20_000, 20_000)).save(path)
    assert code_of(path) == "too_large"
