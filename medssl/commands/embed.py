"""``medssl embed``: one feature vector a volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medssl.commands.scans import opened_scans
from medssl.commands.session import CommandSession
from medssl.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from medssl.encoders.base import Encoder

__all__ = ["embed", "mean_vector"]

SLICES_AT_ONCE = 16


def embed(
    *,
    weights: Path,
    input: Sequence[Path],  # noqa: A002 the option's name
    out: Path,
    device: str = "auto",
    overwrite: bool = False,
) -> Path:
    """Turn every volume into one feature vector.

    A vector is the mean of the encoder's coarsest map over the whole volume; for planar weights,
    the mean over its slices. Volumes that can't be read are named and left out.

    Args:
        weights: An export folder, a run that holds one, a published file, or an id of the zoo.
        input: Scans, folders of scans, or patterns.
        out: The ``.parquet`` file to write, with the columns ``id`` and ``features``.
        device: ``auto``, or what torch calls a device, such as ``cpu`` or ``cuda:1``.
        overwrite: Replace a file that is there.

    Returns:
        The file that was written.

    Raises:
        InputError: If there is nothing to embed.
        WeightsMismatchError: If the weights are damaged.

    Example:
        medssl embed --weights runs/voco/export --input scans --out features.parquet
    """
    out = Path(out)
    if out.suffix != ".parquet":
        raise UsageError(f'--out is "{out.name}"; expected a name that ends in .parquet')
    options = {"weights": weights, "input": list(input), "device": device}
    with (
        CommandSession(
            "embed", out=out, file=True, overwrite=overwrite, options=options
        ) as session,
        opened_scans(input) as scans,
    ):
        count = _run(session, Path(weights), scans, out, device)
        session.record["volumes"] = count
        session.hash_output(out)
        session.summary(
            [f"{count} feature vectors"], next_step=f"medssl probe --features {out.name}"
        )
    return out


def _run(
    session: CommandSession, weights: Path, scans: dict[str, Path], out: Path, device: str
) -> int:
    """Embed the scans and write the table; return how many there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from medssl.errors import VolumeReadError
    from medssl.io.atomic import atomic_path
    from medssl.weights.load import load_encoder

    encoder, preprocess = load_encoder(weights)
    wanted = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    encoder = encoder.to(wanted)
    vectors: dict[str, list[float]] = {}
    for name, path in session.progress(scans.items(), total=len(scans), unit="volume"):
        try:
            vectors[name] = mean_vector(encoder, preprocess(path).to(wanted)).tolist()
        except VolumeReadError as error:
            session.note(f"left out: {error}")
    if not vectors:
        raise InputError(f"none of the {len(scans)} scans could be read; see the notes above")
    columns = {
        "id": pa.array(list(vectors), pa.string()),
        "features": pa.array(list(vectors.values()), pa.list_(pa.float32())),
    }
    with atomic_path(out) as temporary:
        pq.write_table(pa.table(columns), temporary)
    return len(vectors)


def mean_vector(encoder: Encoder, images: Tensor) -> Tensor:
    """Return the mean feature vector ``(D,)`` of ``(n, C, …)`` images of one scan, on the CPU."""
    import torch

    with torch.inference_mode():
        parts = [
            encoder.embed(part).float().sum(dim=0) for part in torch.split(images, SLICES_AT_ONCE)
        ]
    return (torch.stack(parts).sum(dim=0) / len(images)).cpu()
