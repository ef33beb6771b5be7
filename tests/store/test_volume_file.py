"""A stored volume comes back exactly, or not at all."""

import blosc2
import numpy as np
import pytest

from medssl.errors import StoreError
from medssl.store.sums import pack_array, unpack_array
from medssl.store.volume_file import VolumeFile, write_volume


@pytest.fixture
def array():
    """Tissue in air: some chunks of one value, which blosc2 does not store, and some of noise."""
    values = np.full((70, 60, 110), -1000, np.int16)
    values[5:60, 10:50, 30:90] = np.random.default_rng(0).integers(-100, 200, (55, 40, 60))
    return values


@pytest.fixture
def path(tmp_path, array):
    path = tmp_path / "volume.b2nd"
    write_volume(path, array, {"name": "é", "numbers": [1, 2.5]})
    return path


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        ((0, 0, 0), (70, 60, 110)),
        ((47, 47, 47), (49, 49, 49)),
        ((3, 0, 95), (70, 60, 96)),
        ((0, 0, 0), (1, 1, 1)),
        ((69, 59, 109), (70, 60, 110)),
    ],
)
def test_boxes_come_back_exactly(path, array, start, stop):
    file = VolumeFile(path, "a")
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    assert file.shape == array.shape
    assert np.array_equal(file.read(start, stop), array[box])


def test_planar_images_come_back_exactly(tmp_path):
    image = np.random.default_rng(0).integers(0, 4000, (300, 520)).astype(np.int16)
    write_volume(tmp_path / "image.b2nd", image, {})
    found = VolumeFile(tmp_path / "image.b2nd", "a").read((250, 100), (300, 520))
    assert np.array_equal(found, image[250:, 100:])


def test_the_note_comes_back(path):
    assert VolumeFile(path, "a").note == {"name": "é", "numbers": [1, 2.5]}


def test_blosc2_alone_opens_the_file(path, array):
    assert np.array_equal(blosc2.open(str(path), mode="r")[:], array)


def test_no_single_flipped_bit_is_ever_served(path, array):
    content = path.read_bytes()
    chance = np.random.default_rng(0)
    whole = (0, 0, 0), array.shape
    for position in chance.integers(0, len(content), 300).tolist():
        spoilt = bytearray(content)
        spoilt[position] ^= 1 << int(chance.integers(8))
        path.write_bytes(spoilt)
        with pytest.raises(StoreError, match='"case 7"'):
            VolumeFile(path, "case 7").read(*whole)


def test_damage_elsewhere_does_not_keep_a_sound_crop_from_being_read(path, array):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    file = VolumeFile(path, "a")
    assert np.array_equal(file.read((0, 0, 0), (20, 20, 20)), array[:20, :20, :20])
    with pytest.raises(StoreError, match="bytes"):
        file.prove()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StoreError, match="can't be read"):
        VolumeFile(path, "a")


def test_a_zeroed_page_is_refused(path, array):
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="bytes"):
        VolumeFile(path, "a").read((0, 0, 0), array.shape)


def test_a_file_that_shrinks_while_it_is_open_is_refused(path, array):
    file = VolumeFile(path, "a")
    with path.open("r+b") as stream:
        stream.truncate(5000)
    with pytest.raises(StoreError, match="size"):
        file.read((0, 0, 0), array.shape)
    with pytest.raises(StoreError, match="size"):
        file.prove()


def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        VolumeFile(tmp_path / "none.b2nd", "a")
    (tmp_path / "text.b2nd").write_text("not a volume " * 100)
    with pytest.raises(StoreError, match="another kind"):
        VolumeFile(tmp_path / "text.b2nd", "a")


def test_writing_that_fails_leaves_the_old_file(path, array):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_volume(path, array, {"not for JSON": object()})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["volume.b2nd"]


@pytest.mark.parametrize("dtype", ["int16", "bool", "float32", "uint64"])
def test_arrays_survive_being_packed(dtype):
    values = (np.random.default_rng(0).normal(size=(5, 3)) * 9).astype(dtype)
    found = unpack_array(pack_array(values))
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)


def spoil(path, change):
    """Change bytes of a file where they are, as a disk would, not as a program that writes."""
    content = bytearray(path.read_bytes())
    change(content)
    with path.open("r+b") as stream:
        stream.write(content)


def test_two_pages_that_changed_places_are_refused(path, array):
    file = VolumeFile(path, "a")

    def swap(content):
        content[8192:12288], content[16384:20480] = content[16384:20480], content[8192:12288]

    spoil(path, swap)
    for opened in (file, VolumeFile(path, "a")):
        with pytest.raises(StoreError, match="bytes"):
            opened.read((0, 0, 0), array.shape)


def test_a_bit_that_flips_while_the_file_is_open_is_found_by_the_next_read(path, array):
    frame = blosc2.open(str(path), mode="r").schunk.cbytes
    for position in np.random.default_rng(1).integers(0, frame, 20).tolist():
        file = VolumeFile(path, "a")
        file.read((0, 0, 0), array.shape)

        def flip(content, position=position):
            content[position] ^= 1

        spoil(path, flip)
        with pytest.raises(StoreError, match="bytes"):
            file.read((0, 0, 0), array.shape)
        spoil(path, flip)
        assert np.array_equal(file.read((0, 0, 0), array.shape), array)


def test_bytes_can_be_proved_without_being_decoded(path, array):
    file = VolumeFile(path, "a")
    file.prove()
    file.prove((0, 0, 0), (20, 20, 20))
    spoil(path, lambda content: content.__setitem__(len(content) // 2, 77))
    file.prove((0, 0, 0), (20, 20, 20))
    with pytest.raises(StoreError, match="bytes"):
        file.prove((0, 0, 0), array.shape)


def test_a_box_can_be_read_into_memory_that_is_there(path, array):
    out = np.empty((5, 40, 30), np.int16)
    file = VolumeFile(path, "a")
    assert file.read((3, 10, 60), (8, 50, 90), out) is out
    assert np.array_equal(out, array[3:8, 10:50, 60:90])
    assert file.read((3, 10, 60), (3, 50, 90)).shape == (0, 40, 30)


def test_a_file_that_is_removed_or_replaced_is_read_to_the_end_by_who_has_it_open(path, array):
    file = VolumeFile(path, "a")
    assert file.is_current()
    write_volume(path, array + 1, {})
    assert not file.is_current()
    assert np.array_equal(file.read((0, 0, 0), array.shape), array)
    path.unlink()
    assert np.array_equal(file.read((0, 0, 0), array.shape), array)
    with pytest.raises(FileNotFoundError):
        file.is_current()


@pytest.mark.parametrize("shape", [(1, 1, 1), (16, 33, 7), (3, 500), (300, 70), (1, 1)])
def test_any_shape_comes_back(tmp_path, shape):
    array = np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)
    write_volume(tmp_path / "a.b2nd", array, {})
    file = VolumeFile(tmp_path / "a.b2nd", "a")
    assert np.array_equal(file.read((0,) * len(shape), shape), array)
    assert np.array_equal(blosc2.open(str(tmp_path / "a.b2nd"), mode="r")[:], array)


def test_a_volume_of_one_value_takes_next_to_no_place(tmp_path):
    array = np.full((200, 200, 200), -1000, np.int16)
    write_volume(tmp_path / "a.b2nd", array, {})
    assert (tmp_path / "a.b2nd").stat().st_size < array.nbytes / 100
    assert np.array_equal(VolumeFile(tmp_path / "a.b2nd", "a").read((0, 0, 0), (200,) * 3), array)
