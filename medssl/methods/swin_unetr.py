"""Swin UNETR's pretraining: how was it turned, which crop is it, and what was cut out?

Paper: Tang et al. 2022, arXiv:2111.14791; reference code: Project-MONAI/research-contributions,
SwinUNETR/Pretrain; in 3D also nnssl's ``SwinUNETRTrainer``.
Ours differs: any encoder takes part, and heads read the mean of its coarsest map where the
reference reads its first two tokens, which only a network that sees the whole crop at every token
can fill; crops of all ranks are negatives, where the reference compares the 2 to 4 crops of one
GPU; crops of one place that overlap are no negatives of each other.

Turns by 90 degrees about the axis of the body are the question itself: the network is asked for the
turn, so it must know what front, back, left and right look like. Nothing is mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.encoders.decoders import LightDecoder
from medssl.losses.contrast import nt_xent
from medssl.methods.base import Method, Targets
from medssl.parts.gather import gather
from medssl.parts.pictures import beside_each_other
from medssl.parts.two_views import overlapping_rows
from medssl.sampling.body import Body
from medssl.sampling.overlaps import Overlaps
from medssl.sampling.places import Sampler
from medssl.transforms.draws import host_generator
from medssl.transforms.presets import cut_out_corruption
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["SwinUNETR", "turned"]


def turned(volume: Tensor, quarters: Tensor) -> Tensor:
    """Turn each image in its axial plane, from the first axis towards the second.

    Args:
        volume: ``(B, C, X, Y, Z)`` or ``(B, C, X, Y)``; X and Y alike where a quarter is odd.
        quarters: ``(B,)`` quarter turns, 0 to 3.
    """
    found = torch.empty_like(volume)
    for quarter in range(4):
        mine = (quarters == quarter).nonzero().flatten()
        if len(mine):
            found[mine] = torch.rot90(volume[mine], quarter, (2, 3))
    return found


class SwinUNETR(Method):
    """Rotation, contrast and in-painting over two views of each crop.

    Where the axial plane of the patch is no square, crops are turned by half turns alone.

    Args:
        crops: Crops of a place.
        temperature: Of the contrast.
        rotation_weight: Of the question how a view was turned.
        contrast_weight: Of the question which two views are of one crop.
        inpainting_weight: Of rebuilding the turned crop as it was before boxes were cut out.
        width: Features in which crops are compared.
        body_share: Least share of body in the first crop of a place.
        **shared: Encoder and patch, see :class:`Method`.
    """

    name: ClassVar[str] = "swin_unetr"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        crops: int = 2,
        temperature: float = 0.5,
        rotation_weight: float = 1.0,
        contrast_weight: float = 1.0,
        inpainting_weight: float = 1.0,
        width: int = 512,
        body_share: float = 0.3,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.crops = crops
        self.temperature = temperature
        self.weights = {
            "rotation": rotation_weight,
            "contrast": contrast_weight,
            "inpainting": inpainting_weight,
        }
        self.body_share = body_share
        self.corruption = cut_out_corruption()
        self.quarters = (0, 1, 2, 3) if self.patch[0] == self.patch[1] else (0, 2)
        features = self.encoder.channels[-1]
        self.rotation_head = nn.Linear(features, len(self.quarters))
        self.contrast_head = nn.Linear(features, width)
        self.decoder = LightDecoder(self.encoder, self.encoder.in_channels, skips=False)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"width": 16}

    def places(self) -> Sampler:
        """Look where there is body, at several crops that may overlap."""
        return Overlaps(Body(crops=self.crops, share=self.body_share, spread=1.0))

    def views(self) -> ViewRecipe:
        """One view as it was cut; the loss makes two of it."""
        return ViewRecipe.single()

    def loss(self, views: Sequence[Tensor], targets: Targets, generator: torch.Generator) -> Losses:
        """Return the three losses and their weighted sum."""
        answer, clean, _, maps = self._answer(views[0], generator)
        pooled = maps[-1].flatten(2).mean(dim=2)
        first, second = self.contrast_head(pooled).chunk(2)
        self.last_embedding = first.detach()
        same = overlapping_rows(targets, len(first))
        terms = {
            "rotation": F.cross_entropy(self.rotation_head(pooled).float(), answer),
            "contrast": nt_xent(
                gather(first), gather(second), temperature=self.temperature, same=same
            ),
            "inpainting": F.l1_loss(self.decoder(maps, self.patch).float(), clean.float()),
        }
        weighted = [self.weights[name] * term for name, term in terms.items()]
        return {"loss": torch.stack(weighted).sum(), **terms}

    def _answer(
        self, volume: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Make two views of each crop and encode them.

        Returns:
            Which of the turns each view took, the views before and after boxes were cut out, and
            the maps; all first views, then all second ones.
        """
        rows = 2 * len(volume)
        answer = torch.randint(
            len(self.quarters), (rows,), generator=generator, device=generator.device
        ).to(volume.device)
        quarters = torch.tensor(self.quarters, device=volume.device)[answer]
        clean = turned(torch.cat([volume, volume]), quarters)
        host = host_generator(generator)
        # apart, so that what is pasted in comes from another crop, not from the other view
        cut = torch.cat([self.corruption(view, host) for view in clean.chunk(2)])
        return answer, clean, cut, self.encoder(cut)

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show a crop, its turned view with holes, and what was rebuilt."""
        (volume,) = self.make_views(batch, generator)
        answer, clean, cut, maps = self._answer(volume, generator)
        said = self.rotation_head(maps[-1].flatten(2).mean(dim=2)).argmax(dim=1)
        right = float((said == answer).float().mean())
        named = (
            ("input", volume),
            ("turned", clean),
            ("with holes", cut),
            ("rebuilt", self.decoder(maps, self.patch)),
        )
        caption = f"Of {len(answer)} views, the turn of {right:.0%} was recognised."
        return beside_each_other("Rotation and in-painting", named, caption)
