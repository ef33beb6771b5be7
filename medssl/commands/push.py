"""``medssl weights push``: put an export onto the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from medssl.commands.progress import plain_console

__all__ = ["push"]


def push(folder: Path, repository: str) -> str:
    """Upload a folder of ``medssl export --to hub``; a new repository is private.

    The folder is checked first, and refused while the licence of its weights is not stated. The
    token is that of ``hf auth login`` or of the environment's HF_TOKEN.

    Args:
        folder: What ``medssl export --to hub`` wrote.
        repository: Owner and name, with a slash between.

    Returns:
        The address of the repository.

    Raises:
        UsageError: If the extra hub is not installed.
        InputError: If the folder can't be published as it is, or the Hub refuses.

    Example:
        medssl weights push handover/hub someone/liver-encoder
    """
    from medssl.weights.formats.hub import push as upload

    address = upload(Path(folder), repository)
    plain_console().print(f"Wrote {address}")
    return address
