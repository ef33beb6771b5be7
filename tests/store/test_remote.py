"""A store on a server is a store: the same numbers, or an error that names the volume."""

import functools
import http.server
import multiprocessing
import os
import pickle
import shutil
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medssl.errors import OutputError, StoreError
from medssl.store.store import Store, volume_path

fsspec = pytest.importorskip("fsspec")


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder on this machine, and does to answers what a test asks for."""

    asked: list[str] = []  # noqa: RUF012 - what all requests share is the point
    spoil: dict[str, list[str]] = {}  # noqa: RUF012

    def log_message(self, *_):
        pass

    def do_GET(self):
        type(self).asked.append(self.path)
        trouble = next((name for name in self.spoil if name in self.path), None)
        kind = self.spoil[trouble].pop(0) if trouble and self.spoil[trouble] else ""
        if kind == "fail":
            self.send_error(503)
            return
        file = self.translate_path(self.path)
        if not kind or not os.path.isfile(file):  # noqa: PTH113
            super().do_GET()
            return
        with open(file, "rb") as stream:  # noqa: PTH123
            content = bytearray(stream.read())
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind == "flip":
            content[len(content) // 3] ^= 1
        self.wfile.write(content if kind == "flip" else content[: len(content) // 2])


@pytest.fixture
def serve():
    """A function that serves a folder on this machine and returns its address."""
    pytest.importorskip("aiohttp")
    Server.asked, Server.spoil = [], {}
    servers = []

    def start(folder):
        handler = functools.partial(Server, directory=str(folder.parent))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append((server, threading.Thread(target=server.serve_forever)))
        servers[-1][1].start()
        return f"http://127.0.0.1:{server.server_port}/{folder.name}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def served(finished, tmp_path, serve):
    """The address of a store on a server, and the folder that the server has."""
    folder = tmp_path / "srv" / "store"
    shutil.copytree(finished.path, folder)
    return serve(folder), folder


@pytest.fixture
def in_memory(finished):
    """The address of the store in fsspec's own memory."""
    memory = fsspec.filesystem("memory")
    memory.put(str(finished.path), "/stores/one", recursive=True)
    yield "memory://stores/one"
    memory.rm("/stores", recursive=True)


def whole(store, volume):
    return store.read(volume, (0, 0, 0), store.row(volume)["shape"])


def total(store):
    return float(sum(whole(store, volume).sum() for volume in store.ids))


@pytest.mark.parametrize("where", ["http", "memory", "file"])
def test_a_remote_store_gives_the_same_numbers(finished, served, in_memory, tmp_path, where):
    url = {"http": served[0], "memory": in_memory, "file": f"file://{finished.path}"}[where]
    store = Store.open(url, cache=tmp_path / "cache")
    assert store.ids == finished.ids
    assert store.table.equals(finished.table)
    for volume in store.ids:
        assert np.array_equal(whole(store, volume), whole(finished, volume))
        assert store.facts(volume).shape == finished.facts(volume).shape
    assert store.verify() == finished.verify()


def test_each_volume_is_fetched_once_and_when_it_is_asked_for(served, tmp_path):
    url, _ = served
    store = Store.open(url + "/", cache=tmp_path / "cache", ct_window=(-175, 250))
    assert not any("b2nd" in path for path in Server.asked)
    for _ in range(3):
        whole(store, store.ids[1])
    again = Store.open(url, cache=tmp_path / "cache")
    whole(again, store.ids[1])
    files = [path for path in Server.asked if "b2nd" in path]
    assert len(files) == 1
    assert store.ids[1] in files[0]


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_share_what_was_fetched(served, tmp_path, start):
    url, folder = served
    store = Store.open(url, cache=tmp_path / "cache")
    expected = total(Store.open(folder))
    assert pickle.loads(pickle.dumps(store)).read(store.ids[0], (0, 0, 0), (4, 4, 4)).size  # noqa: S301
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.map(total, [store, store]) == [expected] * 2
    assert len([path for path in Server.asked if "b2nd" in path]) == 3


@pytest.mark.parametrize("trouble", ["flip", "fail", "cut"])
def test_what_goes_wrong_on_the_way_is_tried_again(served, tmp_path, trouble):
    url, folder = served
    store = Store.open(url, cache=tmp_path / "cache")
    volume = store.ids[0]
    Server.spoil = {volume: [trouble] * 2}
    assert np.array_equal(whole(store, volume), whole(Store.open(folder), volume))


@pytest.mark.parametrize("trouble", ["flip", "fail", "cut"])
def test_what_never_arrives_whole_is_named_and_not_served(served, tmp_path, trouble):
    url, _ = served
    store = Store.open(url, cache=tmp_path / "cache")
    volume, other, _ = store.ids
    Server.spoil = {volume: [trouble] * 99}
    with pytest.raises(StoreError, match=f"{volume}.*3 attempts"):
        whole(store, volume)
    assert whole(store, other).size
    assert len(list((tmp_path / "cache").glob("files/*/*"))) == 1
    with pytest.raises(StoreError, match=f"1 of 3.*{volume}"):
        store.verify()


def test_a_file_that_was_damaged_on_the_server_is_never_served(served, tmp_path):
    url, folder = served
    store = Store.open(url, cache=tmp_path / "cache")
    path = volume_path(folder, store.ids[0])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match=store.ids[0]):
        whole(store, store.ids[0])
    path.unlink()
    with pytest.raises(StoreError, match=f'"{store.ids[0]}" is not in the store'):
        whole(store, store.ids[0])


@pytest.mark.parametrize("is_open", [True, False])
def test_a_copy_that_is_damaged_here_is_fetched_again(served, tmp_path, is_open):
    url, folder = served
    store = Store.open(url, cache=tmp_path / "cache")
    volume = store.ids[0]
    expected = whole(store, volume)
    (copy,) = (tmp_path / "cache").glob("files/*/*.b2nd")
    if not is_open:
        store = Store.open(url, cache=tmp_path / "cache")
    with copy.open("r+b") as stream:
        stream.seek(6000)
        stream.write(b"damage")
    assert np.array_equal(whole(store, volume), expected)
    assert copy.read_bytes() == volume_path(folder, volume).read_bytes()


def test_no_more_is_kept_than_was_allowed(in_memory, finished, tmp_path):
    sizes = finished.table["stored_bytes"].to_pylist()
    store = Store.open(in_memory, cache=tmp_path / "cache", cache_bytes=sum(sizes[1:]) + 100)
    opened = {volume: whole(store, volume) for volume in store.ids}
    kept = list((tmp_path / "cache").glob("files/*/*.b2nd"))
    assert sum(path.stat().st_size for path in kept) <= sum(sizes[1:]) + 100
    assert len(kept) < 3
    # What is open stays readable, and what went comes back.
    for each in (store, Store.open(in_memory, cache=tmp_path / "cache", cache_bytes=1)):
        for volume in store.ids:
            assert np.array_equal(whole(each, volume), opened[volume])
    assert len(list((tmp_path / "cache").glob("files/*/*.b2nd"))) == 1


def test_a_store_written_anew_does_not_meet_copies_of_the_old_one(cohort, served, tmp_path):
    from medssl.store.prepare import prepare_cohort
    from medssl.store.recipe import Recipe

    url, folder = served
    total(Store.open(url, cache=tmp_path / "cache"))
    shutil.rmtree(folder)
    other = prepare_cohort(cohort, folder, Recipe(spacing_mm=(3.0, 3.0, 3.0)))
    store = Store.open(url, cache=tmp_path / "cache")
    assert store.recipe == other.recipe
    assert total(store) == total(other)


def test_masks_and_names_with_odd_letters_travel_too(serve, tmp_path):
    from medssl.cohort.datasets import open_dataset
    from medssl.io.nifti import write_nifti
    from medssl.store.prepare import prepare_dataset
    from medssl.store.recipe import Recipe

    scans = tmp_path / "scans"
    (scans / "imagesTr").mkdir(parents=True)
    (scans / "labelsTr").mkdir()
    chance = np.random.default_rng(0)
    for name in ("case 1", "case%2"):
        image = chance.integers(0, 500, (20, 20, 20)).astype(np.int16)
        write_nifti(scans / "imagesTr" / f"{name}_0000.nii.gz", image, np.eye(4))
        write_nifti(
            scans / "labelsTr" / f"{name}.nii.gz", (image > 400).astype(np.int16), np.eye(4)
        )
    (scans / "dataset.json").write_text(
        '{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "organ": 1}, '
        '"numTraining": 2, "file_ending": ".nii.gz"}'
    )
    local = prepare_dataset(open_dataset(scans), tmp_path / "srv", Recipe())
    store = Store.open(serve(local.path), cache=tmp_path / "cache")
    for volume in local.ids:
        box = (volume, (-2, 0, 3), (9, 9, 9))
        assert np.array_equal(store.read_label(*box), local.read_label(*box))
        assert np.array_equal(store.read(*box), local.read(*box))


def test_a_check_mends_a_copy_that_was_damaged_here(served, tmp_path):
    store = Store.open(served[0], cache=tmp_path / "cache")
    total(store)
    for copy in (tmp_path / "cache").glob("files/*/*.b2nd"):
        copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    assert Store.open(served[0], cache=tmp_path / "cache").verify()


@pytest.mark.parametrize("checksum", ["", "../../../outside", "0" * 63])
def test_a_table_can_not_say_where_copies_go(served, tmp_path, checksum):
    url, folder = served
    rows = Store.open(folder).table.to_pylist()
    table = pa.Table.from_pylist([{**row, "checksum": checksum} for row in rows])
    pq.write_table(table, folder / "volumes.parquet")
    store = Store.open(url, cache=tmp_path / "cache")
    with pytest.raises(StoreError, match="checksum"):
        whole(store, store.ids[0])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("memory://nothing/here", "not in the store"),
        ("nonsense://host/store", "medssl\\[remote\\]"),
    ],
)
def test_an_address_that_is_no_store_is_refused(tmp_path, url, reason):
    with pytest.raises(StoreError, match=reason):
        Store.open(url, cache=tmp_path / "cache")


def test_a_cache_that_can_not_be_written_is_named(in_memory, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(OutputError, match="cache"):
        Store.open(in_memory, cache=tmp_path / "cache")


def test_copies_are_kept_in_the_user_s_cache_by_default(in_memory, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path / "home"))
    store = Store.open(in_memory)
    whole(store, store.ids[0])
    assert len(list((tmp_path / "home" / "stores" / "files").glob("*/*.b2nd"))) == 1
