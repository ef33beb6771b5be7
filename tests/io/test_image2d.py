from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from PIL import Image, ImageOps, TiffImagePlugin

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


def test_a_damaged_header_is_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    whole = path.read_bytes()
    for position in (11, 20):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert code_of(path) in ("corrupt", "not_an_image")


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_stored_on_its_side_is_set_upright(tmp_path, turn):
    exif = Image.Exif()
    exif[274] = turn
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = turn
    Image.fromarray(PIXELS).save(tmp_path / "a.tif", tiffinfo=tags)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).T
    for name in ("a.png", "a.tif"):
        assert np.array_equal(READER.read(tmp_path / name).data, expected)
        assert READER.read_header(tmp_path / name).shape == expected.shape


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32"])
def test_tiff_keeps_the_type_of_its_numbers(tmp_path, kind):
    whole = np.iinfo(kind) if kind != "float32" else np.finfo(kind)
    pixels = np.array([[whole.min, 1, 2], [3, 4, whole.max]], dtype=kind)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels), str(tmp_path / "a.tif"))
    volume = READER.read(tmp_path / "a.tif")
    assert np.array_equal(volume.data.T, pixels)
    assert str(volume.data.dtype) == READER.read_header(tmp_path / "a.tif").dtype


def test_the_pages_of_a_file_are_read_by_their_number(tmp_path):
    pages = [Image.fromarray(np.roll(PIXELS, number, axis=0)) for number in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert READER.count(tmp_path / "a.tif") == 3
    assert np.array_equal(READER.read(tmp_path / "a.tif", 2).data, np.roll(PIXELS, 2, axis=0).T)
