"""From a foreign state dict to an encoder that is proven to hold it.

The family is found from the keys alone. Every tensor of the file is accounted for, and nothing is
handed out while a tensor of the encoder stays unfilled, unless it was named as one that may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal

from torch import Tensor

from medssl.encoders import Encoder, build_encoder
from medssl.errors import ConfigError, WeightsMismatchError
from medssl.weights.convert.adapt import inflated, with_channels
from medssl.weights.convert.checkpoint import Checkpoint, open_checkpoint
from medssl.weights.convert.ctfm import propose_ctfm
from medssl.weights.convert.generic import GENERIC, propose_generic
from medssl.weights.convert.genesis import propose_genesis
from medssl.weights.convert.plain import propose_plain
from medssl.weights.convert.primus import propose_primus
from medssl.weights.convert.proposal import Contract, Proposal
from medssl.weights.convert.resenc import propose_resenc
from medssl.weights.convert.resnet import propose_resnet
from medssl.weights.convert.segresnet import propose_segresnet
from medssl.weights.convert.swin import propose_swin
from medssl.weights.convert.unsupported import refuse_unsupported
from medssl.weights.convert.vit import propose_vit
from medssl.weights.state import load_state

__all__ = ["Conversion", "CoverageReport", "convert", "propose"]

_NAMED = 5
_COMPUTED = (
    "relative_position_index",
    "num_batches_tracked",
    "norm_cross_attn.weight",
    "norm_cross_attn.bias",
)
"""Ends of names of buffers that follow from the options of a network or do not matter to it."""

_GUESSED = "the file does not say what its input looked like; check orientation, spacing, intensity"


@dataclass(frozen=True)
class CoverageReport:
    """What became of every tensor.

    Attributes:
        family: Name of the published family.
        container: Keys that led to the state dict in the file.
        loaded: Names in the encoder that the file filled.
        adapted: What was changed besides its name, one sentence each.
        dropped: Names in the file that have no place in an encoder.
        left_over: Names in the file that nothing explains.
        missing: Names in the encoder that the file did not fill.
        share: Share of the encoder's parameters that the file filled.
        notes: What a user must know.
        mapping: Pairs of names, theirs and ours, where a person must check them.
    """

    family: str
    container: str
    loaded: tuple[str, ...]
    adapted: tuple[str, ...]
    dropped: tuple[str, ...]
    left_over: tuple[str, ...]
    missing: tuple[str, ...]
    share: float
    notes: tuple[str, ...]
    mapping: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the report, one sentence a line."""
        counts = {"dropped on purpose": self.dropped, "missing": self.missing}
        return [
            f"family {self.family}, state dict under {self.container or 'the top of the file'}",
            f"loaded {len(self.loaded)} tensors, {100 * self.share:.1f} % of the encoder",
            *(f"adapted: {sentence}" for sentence in self.adapted),
            *(f"{what}: {_shown(names)}" for what, names in counts.items() if names),
            *self.notes,
        ]


@dataclass(frozen=True)
class Conversion:
    """An encoder filled from a foreign file, what it saw in training, and the account of it."""

    encoder: Encoder
    contract: Contract
    report: CoverageReport


def propose(
    checkpoint: Checkpoint,
    *,
    merge_order: Literal["monai", "published"] | None = None,
    patch: Sequence[int] | None = None,
    heads: int | None = None,
) -> Proposal:
    """Find the family of a checkpoint from its keys.

    Args:
        checkpoint: A state dict as its file names it.
        merge_order: For own SwinUNETR runs, see :func:`propose_swin`.
        patch: For vision transformers, see :func:`propose_vit`.
        heads: The same.

    Raises:
        WeightsMismatchError: If it is of none that can be converted.
    """
    families: tuple[Callable[[Checkpoint], Proposal | None], ...] = (
        lambda found: propose_swin(found, merge_order),
        lambda found: propose_vit(found, patch=patch, heads=heads),
        propose_resenc,
        propose_plain,
        lambda found: propose_primus(found, patch=patch, heads=heads),
        propose_segresnet,
        propose_ctfm,
        propose_genesis,
        propose_resnet,
    )
    for family in families:
        proposal = family(checkpoint)
        if proposal is not None:
            return proposal
    refuse_unsupported(checkpoint.tensors)
    raise WeightsMismatchError(
        f"no family known here has these keys: {_shown(sorted(checkpoint.tensors))}; known are "
        "SwinUNETR (MONAI, DAE, VoCo, VoComni, SuPreM), encoders of nnU-Net and nnssl (OpenMind), "
        "SegResNet and U-Net (SuPreM, CT-FM, Models Genesis, PCRLv2), ResNets (MedicalNet) and "
        "vision transformers (3DINO, DINOv2, masked autoencoders of FAIR and MONAI, ViTAutoEnc); "
        "if it is a network of `medssl info --encoders`, name that with --encoder"
    )


def convert(
    content: Mapping[str, Any],
    *,
    in_channels: int | None = None,
    merge_order: Literal["monai", "published"] | None = None,
    patch: Sequence[int] | None = None,
    heads: int | None = None,
    encoder: str | None = None,
    inflate: bool = False,
    allow: Sequence[str] = (),
) -> Conversion:
    """Fill an encoder from what a foreign file holds.

    Args:
        content: What :func:`medssl.weights.foreign.read_foreign` returned.
        in_channels: Channels of the input; by default those of the file.
        merge_order: For own SwinUNETR runs, see :func:`propose_swin`.
        patch: Edges of the crop to which the positions of a vision transformer are brought; by
            default that of its pretraining.
        heads: Attention heads of a vision transformer; by default the published number.
        encoder: For a file of no known family: what it is to fill. The mapping in the report is a
            proposal then, see :func:`propose_generic`.
        inflate: Make an encoder of volumes from one of images, see :func:`inflate_kernel`.
        allow: Patterns of names in the encoder that may be missing, and of names in the file that
            may be left over.

    Raises:
        ConfigError: If something is asked for that the family has no use for.
        WeightsMismatchError: If the family is not known, a shape differs, or too little is filled.
    """
    checkpoint = open_checkpoint(content)
    proposal = (
        propose(checkpoint, merge_order=merge_order, patch=patch, heads=heads)
        if encoder is None
        else propose_generic(checkpoint, encoder, _COMPUTED)
    )
    _refuse_idle(proposal, patch=None if patch is None else list(patch), heads=heads)
    if in_channels is not None:
        proposal = with_channels(proposal, in_channels)
    if inflate:
        proposal = inflated(proposal)
    network = build_encoder(proposal.encoder, **proposal.config)
    wanted = network.state_dict()
    tensors = {
        name: t.to(wanted[name].dtype) if name in wanted else t
        for name, t in proposal.tensors.items()
    }
    computed = {n for n in wanted if n not in tensors and n.endswith(_COMPUTED)}
    report = _account(checkpoint, proposal, network, tensors, computed)
    _refuse_gaps(report, allow)
    _refuse_nonsense(tensors)
    # a gap that was allowed keeps what the encoder was built with
    rest = {name: wanted[name] for name in (*report.missing, *computed)}
    load_state(network, {**tensors, **rest}, drop=report.left_over)
    return Conversion(network.eval().requires_grad_(False), proposal.contract, report)


def _refuse_idle(proposal: Proposal, **asked: Any) -> None:
    idle = [n for n, v in asked.items() if v is not None and proposal.config.get(n) != v]
    if idle:
        raise ConfigError(
            f"{' and '.join(idle)} of a {proposal.family} encoder can't be chosen: the file fixes "
            "it, or it has none; leave it out"
        )


def _account(
    checkpoint: Checkpoint,
    proposal: Proposal,
    encoder: Encoder,
    tensors: Mapping[str, Tensor],
    computed: set[str],
) -> CoverageReport:
    wanted = encoder.state_dict()
    sizes = {name: parameter.numel() for name, parameter in encoder.named_parameters()}
    loaded = tuple(sorted(set(wanted) & set(tensors)))
    filled = sum(sizes.get(name, 0) for name in loaded)
    return CoverageReport(
        family=proposal.family,
        container=checkpoint.container,
        loaded=loaded,
        adapted=proposal.adapted,
        dropped=proposal.dropped,
        left_over=(*proposal.left_over, *sorted(set(tensors) - set(wanted))),
        missing=tuple(sorted(set(wanted) - set(tensors) - computed)),
        share=filled / sum(sizes.values()),
        notes=proposal.notes + (() if proposal.contract.is_confirmed else (_GUESSED,)),
        mapping=proposal.mapping,
    )


def _refuse_gaps(report: CoverageReport, allow: Sequence[str]) -> None:
    gaps = {
        what: [name for name in names if not any(fnmatch(name, pattern) for pattern in allow)]
        for what, names in (("missing", report.missing), ("left over", report.left_over))
    }
    if gaps["missing"] or gaps["left over"]:
        told = "; ".join(f"{what}: {_shown(names)}" for what, names in gaps.items() if names)
        advice = (
            "Name another --encoder, or what may differ with --allow"
            if report.family == GENERIC
            else "Download it again, or name what may differ with --allow"
        )
        raise WeightsMismatchError(
            f"the file fills {100 * report.share:.1f} % of a {report.family} encoder; {told}. "
            f"{advice}"
        )


def _refuse_nonsense(tensors: Mapping[str, Tensor]) -> None:
    wrong = sorted(n for n, t in tensors.items() if not t.isfinite().all())
    if wrong:
        raise WeightsMismatchError(
            f"{len(wrong)} tensors hold NaN or infinite values: {_shown(wrong)}; the training "
            "diverged or the file is damaged, take another"
        )


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
