"""Brings a file over HTTP, goes on where a cut connection left off, and stops when it is too long.

Proxies are those of the environment. What arrives stays under a temporary name; whoever asked for
it verifies it before it gets its own.
"""

from __future__ import annotations

import email.message
import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from medssl.errors import InputError, MedsslError

__all__ = ["DownloadError", "download"]

_ATTEMPTS = 3
"""How often in a row a connection may break without a byte having come."""
_PAUSE_SECONDS = 0.1
"""Doubled before every further attempt."""
_TIMEOUT_SECONDS = 30.0
_SERVER_FAULTS = 500
_CHUNK_BYTES = 2**20
_MOST_BYTES = 50 * 2**30
"""Of a file whose size nobody told."""


class DownloadError(InputError, OSError):
    """A file could not be brought; the message is the reason, for a sentence around it."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, never from an encrypted address to an open one."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadError(f"{urlsplit(req.full_url).hostname} sends on to an open address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, part: Path, *, size: int | None = None) -> Iterator[int]:
    """Bring a file into ``part``, and yield the number of bytes that are there after each piece.

    What lies in ``part`` already is kept if the server says that it is of the same file.

    Args:
        url: An ``http`` or ``https`` address.
        part: The temporary file; left behind when the connection breaks, so that a later call can
            go on.
        size: How long the file must be.

    Raises:
        DownloadError: If it can't be brought, or is longer or shorter than it must be.
        OutputError: If the disk is full.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is no http or https address")
    failures = 0
    while True:
        before = _length(part)
        try:
            yield from _once(url, part, size)
            return
        except MedsslError:
            raise
        except (OSError, http.client.HTTPException) as error:
            reason = _final(url, part, error)
            failures = 0 if _length(part) > before else failures + 1
            if reason or failures >= _ATTEMPTS:
                reason = reason or f"{_host(url)} can't be reached ({_why(error)})"
                raise DownloadError(reason) from error
            time.sleep(_PAUSE_SECONDS * 2**failures)


def _once(url: str, part: Path, size: int | None) -> Iterator[int]:
    """Bring what is missing over one connection."""
    start = _length(part)
    mark = _mark_of(part)
    if size is not None and start >= size:
        start = 0  # whole or too long, and yet not accepted: nothing of it is of use
    request = urllib.request.Request(url, headers={"User-Agent": "medssl"})  # noqa: S310 - checked
    if start and mark.is_file():
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", mark.read_text(encoding="ascii"))
    opener = urllib.request.build_opener(_Redirects)
    with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT and _begins_at(answer, start)
        start = start if goes_on else 0
        _check(url, answer.headers, start, size)
        _remember(mark, answer.headers)
        length = answer.headers.get("Content-Length")
        told = start + int(length) if length is not None else None
        yield from _receive(answer, part, start, told, size)
    mark.unlink(missing_ok=True)


def _receive(
    answer: Any, part: Path, start: int, told: int | None, size: int | None
) -> Iterator[int]:
    most = size if size is not None else _MOST_BYTES
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        done = start
        while piece := answer.read(_CHUNK_BYTES):
            done += len(piece)
            if done > most:
                raise DownloadError(f"the file is longer than the {most} bytes it must have")
            file.write(piece)
            file.flush()
            yield done
    if told is not None and done < told:
        raise ConnectionError(f"the connection broke after {done} of {told} bytes")
    if size is not None and done != size:
        raise DownloadError(f"the file has {done} bytes and must have {size}")


def _check(url: str, headers: email.message.Message, start: int, size: int | None) -> None:
    """Refuse what can't be the file, before a byte of it is kept."""
    length = headers.get("Content-Length")
    if length is not None and size is not None and start + int(length) != size:
        raise DownloadError(
            f"the file at {_host(url)} has {start + int(length)} bytes and must have {size}"
        )
    if headers.get_content_type() == "text/html":
        raise DownloadError(f"{_host(url)} answers with a web page and not with a file")


def _begins_at(answer: Any, start: int) -> bool:
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-")


def _mark_of(part: Path) -> Path:
    """Return the file that holds what the server called the version of the part."""
    return part.with_name(part.name + ".version")


def _remember(mark: Path, headers: email.message.Message) -> None:
    version = headers.get("ETag") or headers.get("Last-Modified")
    if version is None or version.startswith("W/"):
        mark.unlink(missing_ok=True)  # without a strong mark nothing says that two parts belong
    else:
        mark.write_text(version, encoding="ascii", errors="replace")


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _final(url: str, part: Path, error: Exception) -> str | None:
    """Return why there is no point in another attempt; none if there is."""
    if isinstance(getattr(error, "reason", None), socket.gaierror):
        return f"{_host(url)} can't be found: no network, or a name that does not exist"
    if not isinstance(error, urllib.error.HTTPError):
        return None
    error.close()
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and part.is_file():
        part.unlink()  # as long as the file, and yet never accepted
        return None
    if error.code in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        return f"{_host(url)} wants an account or agreement to terms"
    is_passing = error.code == http.HTTPStatus.TOO_MANY_REQUESTS or error.code >= _SERVER_FAULTS
    return None if is_passing else f"{_host(url)} answers {error.code} {error.reason}"


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    text = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
    return text.splitlines()[0].lower()
