"""What every test gets without asking: a seed, one thread, no network, its own cache folder."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BESIDE_THE_PROJECT = Path(__file__).resolve().parents[2] / "shared" / "data"

# Set before any test imports numpy or torch; one thread keeps sums the same on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")


class NetworkBlockedError(RuntimeError):
    """A test of the default suite tried to reach another machine."""


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine, unless the test is marked ``network``."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = str(address[0]) if isinstance(address, tuple) else ""
        local = self.family == getattr(socket, "AF_UNIX", None) or host in ("127.0.0.1", "::1")
        if not local:
            raise NetworkBlockedError(f"tests have no network; mark the test `network` ({host})")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of the person who runs the tests out of them."""
    monkeypatch.setenv("MEDSSL_HOME", str(tmp_path_factory.getbasetemp() / "medssl_home"))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("CI", "true")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Seed the global generators, for code of others that draws from them; ours takes a generator.

    Torch is seeded only where some test module has imported it: tests of files and tables do not
    wait for it.
    """
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
    yield
    if torch is not None:
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function from a name to a path in the public data, which skips where it is absent.

    The folder is the environment's ``MEDSSL_DATA``, or ``shared/data`` beside the project.
    """
    root = Path(os.environ.get("MEDSSL_DATA", BESIDE_THE_PROJECT))

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"public data not here: {name} (set MEDSSL_DATA to its folder)")
        return path

    return find
