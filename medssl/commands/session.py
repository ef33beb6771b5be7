"""One run of one command: its output, its progress, its last words and ``run.json``.

Progress and notes go to standard error, the summary to standard output, so that a summary can be
piped.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from medssl.commands.progress import follow, plain_console
from medssl.errors import MedsslError, OutputError, UsageError
from medssl.io.atomic import MARKER, claim_output, release_output, write_json

__all__ = ["CommandSession"]

T = TypeVar("T")

RECORDED_PACKAGES = (
    "medssl",
    "torch",
    "monai",
    "lightning",
    "numpy",
    "blosc2",
    "nibabel",
    "pydicom",
)
NAMED_SUFFIXES = {".yaml", ".yml", ".json", ".parquet", ".safetensors"}


class CommandSession:
    """What every command does around its work.

    The output is claimed on entry. When the command fails before it wrote anything, a folder that
    was made for it goes away again, and what ``overwrite`` would have replaced comes back.

    Args:
        verb: Name of the command.
        out: Its output folder, or with ``file`` its output file.
        overwrite: Replace what an earlier command wrote there.
        resume: Go on with what is there.
        file: Whether ``out`` is one file; ``run.json`` then becomes ``<stem>.run.json`` beside it.
        options: The command's arguments, for ``run.json``; paths of the user's data are left out of
            it.

    Attributes:
        record: Further entries for ``run.json``, such as counts; primitives, no patient data.
        follows: Whether this process is one that a training run on several devices started beside
            the first: it works along, and writes and says nothing.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp()) / "cohort"
        >>> with CommandSession("index", out=out, options={"seed": 1}) as session:
        ...     volumes = [volume for volume in session.progress("abc", unit="volume")]
        ...     session.summary(["3 volumes"], next_step="medssl prepare cohort --out store")
        3 volumes
        Wrote cohort
        Next: medssl prepare cohort --out store
        >>> sorted(path.name for path in out.iterdir())
        ['.medssl', 'run.json']
    """

    def __init__(
        self,
        verb: str,
        *,
        out: Path | str,
        overwrite: bool = False,
        resume: bool = False,
        file: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.verb = verb
        self.out = Path(out)
        self.overwrite = overwrite
        self.resume = resume
        self.file = file
        self.options = dict(options or {})
        self.record: dict[str, Any] = {}
        # the launcher tells its processes apart in the environment
        self.follows = os.environ.get("LOCAL_RANK", "0") != "0"
        self._stages: dict[str, dict[str, float]] = {}
        self._hashed: list[Path] = []
        self._aside: Path | None = None
        self._made: list[Path] = []

    def __enter__(self) -> CommandSession:
        """Claim the output.

        Raises:
            UsageError: If there is something already, and neither overwriting nor resuming was
                asked for.
            OutputError: If it can't be written.
        """
        self._started = datetime.datetime.now(datetime.UTC)
        self._clock = time.perf_counter()
        if self.follows:
            return self
        folder = self.out.parent if self.file else self.out
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            if self.file:
                self._claim_file()
            else:
                self._claim_folder()
        except MedsslError:
            self._give_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write ``run.json``, or leave the disk as it was when nothing came of the command."""
        if self.follows:
            return
        if error is None:
            self._write_record("finished", None)
        elif self._is_untouched():
            self._give_back()
            return
        elif not self.file:
            # The folder may be full or gone: what went wrong first is what the user must hear.
            with contextlib.suppress(OSError):
                status = "failed" if isinstance(error, Exception) else "stopped"
                self._write_record(status, type(error).__name__)
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)

    def progress(
        self, iterable: Iterable[T], *, total: int | None = None, unit: str, doing: str = ""
    ) -> Iterator[T]:
        """Yield what ``iterable`` yields, showing how many, how fast and how long still.

        A bar on a terminal, a plain line now and then when piped or with ``CI=true``.

        Args:
            iterable: The work.
            total: Number of items where ``iterable`` has no length.
            unit: One item, in the singular: "volume".
            doing: What is done to it, for the line's beginning: "reading". By default the verb.
        """
        if self.follows:
            yield from iterable
            return
        start, count = time.perf_counter(), 0
        doing = doing or self.verb
        try:
            for item in follow(iterable, total=total, unit=unit, doing=doing):
                yield item
                count += 1
        finally:
            seconds = round(time.perf_counter() - start, 3)
            self._stages[doing] = {f"{unit}s": count, "seconds": seconds}

    def note(self, text: str) -> None:
        """Say something that the user should know while the command runs."""
        if not self.follows:
            plain_console(error=True).print(text)

    def hash_output(self, *paths: Path) -> None:
        """Ask for the SHA-256 of written files in ``run.json``."""
        self._hashed.extend(paths)

    def summary(self, lines: Sequence[str], *, next_step: str | None = None) -> None:
        """End the command: what came out, where it is, and what to do next."""
        console = plain_console()
        for line in lines:
            console.print(line)
        console.print(f"Wrote {self.out.name if self.out.is_absolute() else self.out}")
        if next_step is not None:
            console.print(f"Next: {next_step}")

    def _claim_folder(self) -> None:
        aside = self.out.with_name(f".{self.out.name}.replaced")
        if self.overwrite and not self.resume and (self.out / MARKER).is_file():
            # Only once the command has something better is the old result given up.
            shutil.rmtree(aside, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.out.rename(aside)
                self._aside = aside
        claim_output(self.out, overwrite=self.overwrite, resume=self.resume)

    def _claim_file(self) -> None:
        if self.out.is_dir():
            raise UsageError(f'--out "{self.out.name}" is a folder; expected the name of a file')
        if self.out.exists() and not self.overwrite:
            raise UsageError(
                f'"{self.out.name}" exists; give --overwrite to replace it, or another --out'
            )
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f'can\'t make the folder of "{self.out.name}"; {_why(error)}'
            ) from error
        if not os.access(self.out.parent, os.W_OK):
            raise OutputError(f'can\'t write "{self.out.name}": the folder is read-only')

    def _is_untouched(self) -> bool:
        if self.file:
            return not self.out.exists()
        return not self.out.is_dir() or {entry.name for entry in self.out.iterdir()} <= {MARKER}

    def _give_back(self) -> None:
        if not self.file and self._is_untouched():
            if self._made or self._aside is not None:
                release_output(self.out)
            else:
                (self.out / MARKER).unlink(missing_ok=True)
        if self._aside is not None:
            self._aside.rename(self.out)
        for path in self._made:
            # Parents that others have used meanwhile refuse to go.
            with contextlib.suppress(OSError):
                path.rmdir()

    def _write_record(self, status: str, error: str | None) -> None:
        record = {
            "command": self.verb,
            "status": status,
            "error": error,
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._clock, 3),
            "stages": self._stages,
            "options": {name: _describe(value) for name, value in self.options.items()},
            "versions": _versions(),
            "sha256": {_inside(path, self.out): _sha256(path) for path in self._hashed},
            **self.record,
        }
        beside = self.out.with_name(f"{self.out.stem}.run.json")
        write_json(beside if self.file else self.out / "run.json", record)


def _describe(value: Any) -> Any:
    """Return an option as JSON without the user's paths, which may name patients."""
    if isinstance(value, os.PathLike):
        path = Path(value)
        known = path.suffix in NAMED_SUFFIXES or (path / "run.json").is_file()
        return path.name if known else "(a path)"
    if isinstance(value, str):
        return _describe(Path(value)) if os.sep in value or Path(value).exists() else value
    if isinstance(value, Mapping):
        return {str(key): _describe(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_describe(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else type(value).__name__


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _inside(path: Path, out: Path) -> str:
    return path.relative_to(out).as_posix() if path.is_relative_to(out) else path.name


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
