"""LVM-Med: two distorted versions of the same images are matched as graphs, nodes and edges.

Paper: Nguyen et al., NeurIPS 2023, arXiv:2306.11925. The training code was never released; where
the paper leaves a number open it is an argument here.
Ours differs: volumes too; nodes are crops of the whole batch, several a place, so that a small
batch has a graph; the solver is our own (:mod:`medssl.losses.graph_solver`), which gives the best
matching for a few nodes and a bounded gap for more; its gradient is the finite difference of its
answers. The right pairs are made dearer by a margin while training: a loss that counts wrong pairs
is 0, and teaches nothing, as soon as a fresh network tells the crops of a batch apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssl.errors import ConfigError
from medssl.losses.contrast import cosines, unit
from medssl.losses.matching import best_matching, hamming, nearest_neighbours, unit_differences
from medssl.methods.base import Method, Targets
from medssl.parts.gather import gather
from medssl.parts.heads import mlp
from medssl.parts.pictures import crop_row, likeness_matrix
from medssl.parts.two_views import Modality, TwoViews
from medssl.sampling.places import Sampler
from medssl.transforms.views import ViewRecipe
from medssl.types import Batch, Losses, Picture

__all__ = ["LVMMed"]

POOL: dict[int, Callable[..., Tensor]] = {
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


class LVMMed(Method):
    """Second-order graph matching.

    Args:
        crops: Crops of a place, each a node; those that overlap are the hardest to tell apart.
        strength: Of the changes of intensity between the two versions.
        modality: Whose intensities they are.
        neighbours: Edges that leave a node, to those it is most like.
        global_share: Share of the nodes' likeness that whole crops have; parts of them have the
            rest.
        local_grid: Most parts along each axis of a crop.
        edge_weight: Weight of the edges against the nodes.
        margin: How much dearer the right pairs are made, as a difference of cosines.
        noise: Size of the Gumbel noise on the nodes' costs, as in implicit maximum likelihood; 0 is
            none.
        step: How far costs are moved against the loss for its gradient, as a difference of cosines.
        width: Features of a node.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If the share is no share, or the step or a crop is missing.
    """

    name: ClassVar[str] = "lvm_med"
    couples_samples: ClassVar[bool] = True

    def __init__(
        self,
        *,
        crops: int = 4,
        strength: float = 1.0,
        modality: Modality = "other",
        neighbours: int = 5,
        global_share: float = 0.8,
        local_grid: int = 3,
        edge_weight: float = 0.5,
        margin: float = 1.0,
        noise: float = 0.1,
        step: float = 1.0,
        width: int = 256,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not 0 <= global_share <= 1 or step <= 0 or neighbours < 1:
            raise ConfigError(
                f"lvm_med was to weigh whole crops by {global_share}, to move costs by {step} and "
                f"to join {neighbours} neighbours; expected a share in [0, 1], a step above 0 and "
                "at least 1 neighbour"
            )
        self.look = TwoViews(crops=crops, strength=strength, modality=modality)
        self.neighbours = neighbours
        self.global_share, self.local_grid = global_share, local_grid
        self.edge_weight, self.margin, self.noise, self.step = edge_weight, margin, noise, step
        features = self.encoder.channels[-1]
        self.head = mlp(features, width, width, norm="layer")
        self.message = mlp(2 * width, width, width, norm="layer")
        self.local_head = nn.Linear(features, width)

    @classmethod
    def tiny(cls) -> dict[str, Any]:
        """Return the options of tests."""
        return {"crops": 2, "neighbours": 2, "width": 32}

    def places(self) -> Sampler:
        """Cut several crops of a place, where there is body."""
        return self.look.places()

    def views(self) -> ViewRecipe:
        """Two distorted versions of each crop; nothing is mirrored or turned."""
        return self.look.recipe()

    def loss(
        self,
        views: Sequence[Tensor],
        targets: Targets,  # noqa: ARG002 which crops are one is known from their order
        generator: torch.Generator,
    ) -> Losses:
        """Return the share of nodes that the best matching gets wrong."""
        nodes, parts = self._described(torch.cat(list(views)))
        self.last_embedding = nodes.detach()
        count = len(views[0])
        # Two graphs of the crops of all ranks, and one matching, the same on every rank.
        joint = [gather(each) for each in (nodes[:count], nodes[count:])]
        joint_parts = [gather(each) for each in (parts[:count], parts[count:])]
        with torch.autocast(nodes.device.type, enabled=False):
            likeness, along, edges = self._affinities(joint, joint_parts)
            right = torch.eye(len(likeness), device=likeness.device)
            chance = torch.rand(likeness.shape, generator=generator, device=generator.device)
            # Of the rank that comes first, so that all ranks solve the same problem.
            gumbel = -gather((-chance.clamp(1e-6, 1 - 1e-6).log()).log()[None])[0]
            cost = self.margin * right - likeness - self.noise * gumbel.to(likeness.device)
            weight = self.edge_weight * len(likeness) / max(1, len(edges[0]))
            # The slope of the loss is 1 / 2n a pair.
            step = self.step * 2 * len(likeness)
            matched, _ = best_matching(cost, -weight * along, *edges, step=step)
            found = likeness.detach().argmax(dim=1) == torch.arange(
                len(likeness), device=likeness.device
            )
        return {"loss": hamming(matched), "found": found.float().mean()}

    def _described(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each crop is as a whole ``(n, D)`` and in parts ``(n, P, D)``."""
        features = self.encoder(images)[-1]
        nodes = self.head(features.flatten(2).mean(dim=2))
        size = [min(edge, self.local_grid) for edge in features.shape[2:]]
        pooled: Tensor = POOL[len(size)](features, size)
        return nodes, self.local_head(pooled.flatten(2).mT)

    def _affinities(
        self, nodes: Sequence[Tensor], parts: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return how alike nodes ``(n, n)`` and edges ``(a, b)`` are, and the edges of each graph.

        Each node hears from its neighbours first.
        """
        told, edges = [], []
        for each in (vectors.float() for vectors in nodes):
            near = nearest_neighbours(unit(each), self.neighbours)
            heard = torch.zeros_like(each).index_add_(0, near[:, 0], each[near[:, 1]])
            heard = heard * (len(each) / max(1, len(near)))
            told.append(each + self.message(torch.cat([each, heard], dim=1)))
            edges.append(near)
        whole = cosines(unit(told[0]), unit(told[1]))
        first, second = (unit(each) for each in parts)
        across = torch.einsum("ipd,jqd->ijpq", first, second)
        # the same part, and the part that is most alike, wherever it lies
        same = across.diagonal(dim1=2, dim2=3).mean(dim=2)
        local = (same + across.amax(dim=3).mean(dim=2)) / 2
        likeness = self.global_share * whole + (1 - self.global_share) * local
        along = [unit_differences(each, near) for each, near in zip(told, edges, strict=True)]
        return likeness, along[0] @ along[1].mT, edges

    def pictures(self, batch: Batch, generator: torch.Generator) -> list[Picture]:
        """Show the crops in their two versions, and how alike each pair of them was found."""
        views = self.make_views(batch, generator)
        nodes, parts = self._described(torch.cat(views))
        count = len(views[0])
        pairs = [(each[:count], each[count:]) for each in (nodes, parts)]
        likeness = self._affinities(*pairs)[0]
        right = int((likeness.argmax(dim=1).cpu() == torch.arange(count)).sum())
        return [
            crop_row("Crops, first version", "crop", views[0], "Each crop is a node of a graph."),
            crop_row("Crops, second version", "crop", views[1], "The same, in the same order."),
            likeness_matrix(
                "Likeness of the crops in their two versions",
                likeness,
                f"Of {count} crops, {right} are most like themselves; by chance 1 would be. The "
                "matching has to find them all at once.",
            ),
        ]
