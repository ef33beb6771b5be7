"""Where medssl keeps what it can fetch or make again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return where downloads are kept: ``MEDSSL_HOME``, or the user's cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "medssl"
    return Path(os.environ.get("MEDSSL_HOME", default)).expanduser()
