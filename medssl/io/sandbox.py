"""Work on files of unknown origin in a child process: what crashes, hangs or swells costs one item.

Native parsers end a process with a signal, decompress bombs until the memory is gone, or never
return. A child with a limit on memory and on time takes that upon itself and is replaced. It is a
guard against broken files; it runs with the rights of its user, so it is none against attackers.
"""

from __future__ import annotations

import mmap
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Literal, TypeVar

from medssl.errors import InputError

__all__ = ["GRACE_SECONDS", "PLACE_BYTES", "Outcome", "Sandbox", "SandboxFault"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_PROGRAM = (
    "import ast, sys; sys.path[:] = ast.literal_eval(sys.argv[2]); "
    "from medssl.io.sandbox_child import serve; serve(*ast.literal_eval(sys.argv[1]))"
)
_START_SECONDS = 120.0
_MOST_STARTS = 3
GRACE_SECONDS = 10.0
"""How much later than its parent a child finds that an item takes too long."""
PLACE_BYTES = 8
"""Of the memory that both share: the number of the item that the child is at."""
_THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in _THREADS} | {
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"
}


@dataclass(frozen=True)
class SandboxFault:
    """What became of an item that the child did not survive, or that did not fit.

    Attributes:
        kind: ``crash``, ``timeout`` or ``memory``.
    """

    kind: Literal["crash", "timeout", "memory"]


Outcome = Any | SandboxFault
"""The value of the function, or the fault of that item alone."""


class Sandbox:
    """A child process that is lent to one thread at a time and started when it is first needed.

    Args:
        memory_bytes: What an item may take beyond what the child is made of.
        seconds: How long one item may take.

    Example:
        >>> with Sandbox(seconds=60) as sandbox:
        ...     list(sandbox.map(len, ["one", "three"]))
        [3, 5]
    """

    def __init__(self, *, memory_bytes: int = 4 * 2**30, seconds: float = 300.0) -> None:
        self.memory_bytes = memory_bytes
        self.seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._ready = select.poll()
        self._place: mmap.mmap | None = None
        self._is_stopped = False

    def __enter__(self) -> Sandbox:
        """Lend the sandbox for a block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the child."""
        self.close()

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Outcome]:
        """Yield the outcome of every item, in order.

        Args:
            function: Can be pickled by its name, as its items and values can.
            items: What it is called with, one by one.

        Raises:
            InputError: If no child can be started.
            Exception: What the function raised, except for want of memory, which is a fault.
        """
        faults: dict[int, SandboxFault] = {}
        done = 0
        try:
            while done < len(items):
                if done in faults:
                    done += 1
                    yield faults.pop(done - 1)
                    continue
                for value in self._run(
                    function, items[done : min(faults, default=len(items))], done, faults
                ):
                    done += 1
                    yield value
        except BaseException:
            if done < len(items):
                # The rest of the batch is under way; the next one must not meet its results.
                self.close()
            raise

    def stop(self) -> None:
        """End the child from another thread; the one that waits for it gets an error."""
        self._is_stopped = True
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> int | None:
        """End the child, if there is one, and return what it ended with."""
        child, channel = self._child, self._channel
        self._child = self._channel = None
        if channel is not None:
            channel.close()
        if child is None:
            return None
        ended = child.poll()
        child.kill()
        child.wait()
        return ended

    def _run(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        first: int,
        faults: dict[int, SandboxFault],
    ) -> Iterator[Outcome]:
        """Yield values until all are there, or until a fault, which is then noted.

        A child sends several values at a time, so that some that were ready may be lost with it.
        """
        channel = self._begin(function, items)
        received = 0
        while received < len(items):
            try:
                if not self._ready.poll(1000 * self.seconds):
                    faults[first + self._place_of(received)] = SandboxFault("timeout")
                    self.close()
                    return
                answers = [pickle.loads(one) for one in channel.recv()]  # noqa: S301 - our child's
            except (EOFError, OSError):
                place = self._place_of(received)
                faults[first + place] = SandboxFault(self._how_it_ended())
                return
            for is_error, value in answers:
                if is_error:
                    raise value
                received += 1
                yield value

    def _place_of(self, received: int) -> int:
        """Return the item that the child was at, by what it left in the memory that both share."""
        place = b"" if self._place is None else self._place[:]
        return max(received, int.from_bytes(place, "little"))

    def _begin(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Connection:
        """Hand a batch to a child that is well."""
        for _ in range(_MOST_STARTS):
            if self._is_stopped:
                raise InputError("reading was stopped")
            channel = self._channel or self._start()
            try:
                channel.send((self.memory_bytes, self.seconds, function, items))
                if channel.poll(_START_SECONDS):
                    channel.recv_bytes()
                    return channel
            except (EOFError, OSError):
                pass  # it died between two batches, or before the first
            self.close()
        raise InputError(
            "a process that reads files ended as soon as it was started; give it more memory, or "
            "run fewer at a time"
        )

    def _start(self) -> Connection:
        ours, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as shared:
            shared.truncate(PLACE_BYTES)
            self._place = mmap.mmap(shared.fileno(), PLACE_BYTES)
            ends = (theirs.fileno(), shared.fileno())
            # A new session, so that Ctrl-C reaches the command alone, which then ends its children.
            self._child = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-c", _PROGRAM, repr(ends), repr(sys.path)],
                pass_fds=ends,
                stdin=subprocess.DEVNULL,
                # Native libraries print names of files, which may be names of patients.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **_ONE_THREAD},
            )
        self._channel = Connection(ours.detach())
        # One object for all waits: Connection.poll makes a new one each time.
        self._ready = select.poll()
        self._ready.register(self._channel.fileno(), select.POLLIN)
        return self._channel

    def _how_it_ended(self) -> Literal["crash", "timeout", "memory"]:
        """Say what ended the child; the system's own kill is for want of memory."""
        if self._child is not None:
            try:
                self._child.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.close()
                return "crash"
        ended = self.close()
        if ended == -signal.SIGALRM:
            return "timeout"
        return "memory" if ended == -signal.SIGKILL else "crash"
