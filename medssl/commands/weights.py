"""``medssl weights``: what others published, made ours."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medssl.commands.session import CommandSession

__all__ = ["convert"]


def convert(
    file: Path,
    *,
    out: Path,
    in_channels: int | None = None,
    merge_order: Literal["monai", "published"] | None = None,
    allow: tuple[str, ...] = (),
    overwrite: bool = False,
) -> Path:
    """Turn a published checkpoint into an export that every command takes.

    The family is found from the keys alone, nothing in the file is run, and every tensor is
    accounted for: loaded, adapted, dropped, missing. A file that does not fill its encoder is
    refused.

    Args:
        file: A safetensors file, or what torch.save wrote.
        out: The new folder.
        in_channels: Channels of the input; by default those of the file.
        merge_order: For SwinUNETR runs of your own: published if MONAI up to 1.4 made them, monai
            from 1.5 on.
        allow: Patterns of tensors that may be missing or left over.
        overwrite: Replace an export that is there.

    Returns:
        The new folder.

    Raises:
        InputError: If there is no such file.
        WeightsMismatchError: If it is damaged, refused, of no known family, or does not fit.

    Example:
        medssl weights convert model_swinvit.pt --out weights/swinvit
    """
    out, source = Path(out), Path(file)
    options = {"file": source.name, "in_channels": in_channels, "merge_order": merge_order}
    with CommandSession("convert", out=out, overwrite=overwrite, options=options) as session:
        from medssl.weights.convert.engine import convert as convert_content
        from medssl.weights.convert.handover import write_converted
        from medssl.weights.foreign import read_foreign

        converted = convert_content(
            read_foreign(source), in_channels=in_channels, merge_order=merge_order, allow=allow
        )
        for name in write_converted(converted, source, out):
            session.hash_output(out / name)
        session.summary(converted.report.lines(), next_step=f"medssl verify {out}")
    return out
