"""What comes over the network is whole and verified, or it does not come at all."""

import hashlib
import http.server
import threading
from dataclasses import replace

import pytest

from medssl.cli import main
from medssl.errors import InputError, UsageError, WeightsMismatchError
from medssl.weights import download as download_module
from medssl.weights.fetch import fetch, fetched_path, is_fetched
from medssl.weights.zoo import find_entry

BODY = bytes(range(256)) * 12_000  # three mebibytes, so that there are several pieces
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Hands out one body; knows Range, and breaks connections when told to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.tag, self.kind = BODY, '"one"', "application/octet-stream"
        self.breaks_after, self.answers_with = [], []
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if server.answers_with:
            self.send_error(server.answers_with.pop(0))
            return
        start = 0
        if self.headers.get("Range") and self.headers.get("If-Range") == server.tag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/*")
        else:
            self.send_response(200)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(server.body) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        end = server.breaks_after.pop(0) if server.breaks_after else len(server.body)
        self.wfile.write(server.body[start : max(start, end)])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download_module, "_PAUSE_SECONDS", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def entry(server, tmp_path, monkeypatch):
    """Return an entry like those of the zoo, whose file this machine hands out."""
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub_home"))
    for name in ("MEDSSL_MIRROR", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    known = find_entry("voco/b-ssl")
    file = replace(known.file, urls=(f"{server.url}/weights.pt",), bytes=len(BODY), sha256=SHA256)
    return replace(known, file=file)


def with_file(entry, **changes):
    return replace(entry, file=replace(entry.file, **changes))


def left_behind(entry):
    folder = fetched_path(entry).parent
    return {path.name for path in folder.iterdir()} - {".lock"} if folder.exists() else set()


def test_a_file_is_fetched_once(server, entry):
    assert not is_fetched(entry)
    pieces = []
    path = fetch(entry, watch=lambda given, total: (pieces.append((n, total)) or n for n in given))
    assert path.read_bytes() == BODY
    assert pieces == [(1, 3), (2, 3), (3, 3)]
    assert left_behind(entry) == {entry.file.name}
    assert fetch(entry) == path
    assert len(server.asked) == 1


def test_a_broken_connection_goes_on_where_it_was(server, entry):
    server.breaks_after = [1_500_000, 2_500_000]
    assert fetch(entry).read_bytes() == BODY
    ranges = [asked for _, asked in server.asked]
    assert ranges[0] is None
    assert len(ranges) == 3
    assert all(int(r.removeprefix("bytes=").rstrip("-")) >= 1_000_000 for r in ranges[1:])


def test_a_later_call_goes_on_too_and_nothing_half_has_the_name(server, entry):
    server.breaks_after = [1_500_000, *[0] * 10]
    with pytest.raises(InputError, match="can't be reached"):
        fetch(entry)
    assert not fetched_path(entry).exists()
    server.breaks_after, server.asked = [], []
    assert fetch(entry).read_bytes() == BODY
    assert server.asked[0][1] is not None
    assert left_behind(entry) == {entry.file.name}


def test_a_part_of_another_version_is_not_gone_on_with(server, entry):
    server.breaks_after = [1_500_000, *[0] * 10]
    with pytest.raises(InputError):
        fetch(entry)
    server.tag, server.breaks_after = '"two"', []
    server.body = BODY[::-1]
    entry = with_file(entry, sha256=hashlib.sha256(server.body).hexdigest())
    assert fetch(entry).read_bytes() == server.body


def test_a_wrong_hash_is_refused_and_removed(server, entry):
    server.body = b"X" + BODY[1:]
    with pytest.raises(WeightsMismatchError, match="is not the file of"):
        fetch(entry)
    assert left_behind(entry) == set()


@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1])
def test_a_wrong_size_is_refused_before_anything_is_kept(server, entry, size):
    with pytest.raises(InputError, match=f"and must have {size}"):
        fetch(with_file(entry, bytes=size))
    assert left_behind(entry) == set()


def test_a_web_page_is_no_file(server, entry):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(InputError, match="a web page"):
        fetch(entry)


def test_faults_of_the_server_are_tried_again_and_refusals_are_not(server, entry):
    server.answers_with = [503]
    assert fetch(entry).read_bytes() == BODY
    fetched_path(entry).unlink()
    server.answers_with, server.asked = [403], []
    with pytest.raises(InputError, match="agreement to terms") as caught:
        fetch(entry)
    assert entry.file.page in str(caught.value)
    assert len(server.asked) == 1


def test_the_next_address_is_tried(server, entry):
    server.answers_with = [404]
    two = (f"{server.url}/gone", f"{server.url}/here")
    assert fetch(with_file(entry, urls=two)).read_bytes() == BODY
    assert [path for path, _ in server.asked] == ["/gone", "/here"]


def test_offline_is_one_sentence_that_says_what_to_do(entry):
    entry = with_file(entry, urls=("http://127.0.0.1:9/weights.pt",))
    with pytest.raises(InputError) as caught:
        fetch(entry)
    said = str(caught.value)
    assert "--from FILE" in said
    assert "MEDSSL_MIRROR" in said
    assert "\n" not in said


def test_a_wish_to_stay_offline_is_kept(server, entry, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="--from FILE"):
        fetch(entry)
    assert server.asked == []


def test_proxies_of_the_environment_are_honoured(server, entry, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    address = "http://weights.invalid/weights.pt"
    assert fetch(with_file(entry, urls=(address,))).read_bytes() == BODY
    assert server.asked == [(address, None)]


def test_only_web_addresses_are_opened(tmp_path, entry):
    (tmp_path / "weights.pt").write_bytes(BODY)
    with pytest.raises(InputError, match="no http or https address"):
        fetch(with_file(entry, urls=((tmp_path / "weights.pt").as_uri(),)))


def test_a_local_file_and_a_mirror_are_verified_alike(server, entry, tmp_path, monkeypatch):
    brought = tmp_path / "brought.pt"
    brought.write_bytes(BODY[:-1])
    with pytest.raises(WeightsMismatchError, match=r"brought\.pt is not the file"):
        fetch(entry, source=brought)
    assert left_behind(entry) == set()
    brought.write_bytes(BODY)
    assert fetch(entry, source=brought).read_bytes() == BODY
    fetched_path(entry).unlink()
    mirror = tmp_path / "mirror"
    (mirror / entry.id).mkdir(parents=True)
    (mirror / entry.id / entry.file.name).write_bytes(BODY)
    monkeypatch.setenv("MEDSSL_MIRROR", str(mirror))
    assert fetch(entry).read_bytes() == BODY
    assert server.asked == []
    fetched_path(entry).unlink()
    with pytest.raises(InputError, match="neither a file nor a folder"):
        fetch(entry, source=tmp_path / "nowhere")


def test_a_mirror_may_be_an_address(server, entry, monkeypatch):
    monkeypatch.setenv("MEDSSL_MIRROR", f"{server.url}/zoo/")
    fetch(entry)
    assert server.asked == [(f"/zoo/{entry.id}/{entry.file.name}", None)]


def test_what_hugging_face_brought_is_not_brought_again(server, entry, tmp_path):
    snapshot = tmp_path / "hub_home" / "hub" / "models--Luffy503--VoCo" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / entry.file.name).write_bytes(BODY)
    assert fetch(entry).read_bytes() == BODY
    assert server.asked == []


def test_without_a_published_hash_the_first_is_noted_and_kept(server, entry):
    entry = with_file(entry, sha256=None, bytes=None)
    with pytest.raises(WeightsMismatchError, match="--accept-unverified"):
        fetch(entry)
    assert server.asked == []
    path = fetch(entry, accept_unverified=True)
    assert fetch(entry) == path
    path.write_bytes(BODY[:-1] + b"X")
    with pytest.raises(WeightsMismatchError, match="is not the file"):
        fetch(entry, accept_unverified=True)


def test_a_file_that_changed_in_the_cache_is_not_used(entry):
    fetch(entry).write_bytes(b"X" + BODY[1:])
    with pytest.raises(WeightsMismatchError, match="It was not opened"):
        fetch(entry)


def test_the_command_says_what_is_unknown_and_what_does_not_verify(tmp_path, capsys):
    assert main(["weights", "fetch", "voco/b-sl"]) == UsageError.exit_code
    assert 'did you mean "voco/b-ssl"?' in capsys.readouterr().err
    brought = tmp_path / "VoCo_B_SSL_head.pt"
    brought.write_bytes(b"no weights")
    assert main(["weights", "fetch", "voco/b-ssl", "--from", str(brought)]) == InputError.exit_code
    assert "is not the file of" in capsys.readouterr().err
