"""``medssl weights``: what others published, made ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medssl.commands.session import CommandSession
from medssl.errors import UsageError

if TYPE_CHECKING:
    from medssl.weights.convert.engine import CoverageReport

__all__ = ["convert"]


def convert(
    file: Path,
    *,
    out: Path,
    in_channels: int | None = None,
    merge_order: Literal["monai", "published"] | None = None,
    patch: tuple[int, ...] | None = None,
    heads: int | None = None,
    encoder: str | None = None,
    accept: bool = False,
    inflate: bool = False,
    allow: tuple[str, ...] = (),
    overwrite: bool = False,
) -> Path:
    """Turn a published checkpoint into an export that every command takes.

    The family is found from the keys alone, nothing in the file is run, and every tensor is
    accounted for: loaded, adapted, dropped, missing. A file that does not fill its encoder is
    refused. For a file of no known family, name the encoder: a mapping is proposed by shape, order
    and name, printed pair by pair, and used once it was accepted.

    Args:
        file: A safetensors file, or what torch.save wrote.
        out: The new folder.
        in_channels: Channels of the input; by default those of the file.
        merge_order: For SwinUNETR runs of your own: published if MONAI up to 1.4 made them, monai
            from 1.5 on.
        patch: For vision transformers: the crop to whose grid positions are brought; by default
            that of the pretraining.
        heads: For vision transformers: attention heads, which no file tells; by default one for 64
            features, as published.
        encoder: For a file of no known family: what it is to fill, of medssl info --encoders.
        accept: Use the proposed mapping without asking; read it in a run without this first.
        inflate: Make an encoder of volumes from planar convolutions: kernels are repeated along the
            slices and divided by their number.
        allow: Patterns of tensors that may be missing or left over.
        overwrite: Replace an export that is there.

    Returns:
        The new folder.

    Raises:
        InputError: If there is no such file.
        UsageError: If a proposed mapping was not accepted.
        ConfigError: If patch or heads are given to a family that has no use for them.
        WeightsMismatchError: If it is damaged, refused, of no known family, or does not fit.

    Example:
        medssl weights convert model_swinvit.pt --out weights/swinvit
    """
    out, source = Path(out), Path(file)
    options = {
        "file": source.name,
        "in_channels": in_channels,
        "merge_order": merge_order,
        "patch": patch,
        "heads": heads,
        "encoder": encoder,
        "accept": accept,
        "inflate": inflate,
    }
    with CommandSession("convert", out=out, overwrite=overwrite, options=options) as session:
        from medssl.weights.convert.engine import convert as convert_content
        from medssl.weights.convert.handover import write_converted
        from medssl.weights.foreign import read_foreign

        converted = convert_content(
            read_foreign(source),
            in_channels=in_channels,
            merge_order=merge_order,
            patch=patch,
            heads=heads,
            encoder=encoder,
            inflate=inflate,
            allow=allow,
        )
        _confirm(session, converted.report, is_accepted=accept)
        for name in write_converted(converted, source, out):
            session.hash_output(out / name)
        session.summary(converted.report.lines(), next_step=f"medssl verify {out}")
    return out


def _confirm(session: CommandSession, report: CoverageReport, *, is_accepted: bool) -> None:
    """Show a mapping that is a guess, and ask whether it is right."""
    if not report.mapping:
        return
    for line in (*report.mapping, *report.lines()):
        session.note(line)
    if is_accepted:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            "the mapping above is a guess that somebody must read before it is used; if every pair "
            "is right, give --accept"
        )
    if input("Type yes if every pair is right: ").strip().lower() != "yes":
        raise UsageError(
            "the mapping was not accepted and nothing was written; name another --encoder"
        )
