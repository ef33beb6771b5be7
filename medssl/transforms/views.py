"""What a method is shown of each place: which crops, and what is done to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Transform, host_generator

__all__ = ["View", "ViewRecipe"]


@dataclass(frozen=True)
class View:
    """Some crops of each place, transformed alike.

    Attributes:
        crops: Numbers of the crops, as the sampler orders them; None is all of them.
        transform: What is done to each crop, with parameters of its own; None is nothing.
    """

    crops: Sequence[int] | None = None
    transform: Transform | None = None

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return this view of a batch, ``(B * k, C, *patch)``, the crops of one place together.

        Args:
            images: ``(B, K, C, *patch)``.
            generator: Where the randomness comes from.

        Raises:
            ConfigError: If the places hold fewer crops than the view asks for.
        """
        count = images.shape[1]
        wanted = range(count) if self.crops is None else self.crops
        if any(not 0 <= crop < count for crop in wanted):
            raise ConfigError(
                f"a view asks for crops {list(wanted)} and the sampler cuts {count} a place; "
                "sampler and views of a method must agree"
            )
        crops = images if list(wanted) == list(range(count)) else images[:, list(wanted)]
        flat = crops.flatten(0, 1)
        return flat if self.transform is None else self.transform(flat, generator)


@dataclass(frozen=True)
class ViewRecipe:
    """All the views a method asks for, in the order in which its loss gets them.

    Attributes:
        views: One entry a view.

    Example:
        >>> recipe = ViewRecipe.groups((range(9), None), (range(9, 11), None))
        >>> images = torch.zeros(2, 11, 1, 8, 8, 8)
        >>> [tuple(view.shape[:2]) for view in recipe(images, torch.Generator())]
        [(18, 1), (4, 1)]
    """

    views: tuple[View, ...]

    @classmethod
    def single(cls, transform: Transform | None = None) -> ViewRecipe:
        """Return one view of every crop."""
        return cls((View(transform=transform),))

    @classmethod
    def pair(cls, first: Transform | None, second: Transform | None = None) -> ViewRecipe:
        """Return two views of every crop, drawn apart.

        Args:
            first: What is done for the first view.
            second: What is done for the second; by default the same, with other parameters.
        """
        return cls((View(transform=first), View(transform=first if second is None else second)))

    @classmethod
    def groups(cls, *groups: tuple[Sequence[int], Transform | None]) -> ViewRecipe:
        """Return a view for each group of crops.

        Args:
            *groups: Numbers of the crops of a group, and what is done to them.
        """
        return cls(tuple(View(crops, transform) for crops, transform in groups))

    def __call__(self, images: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Make the views of a batch.

        Args:
            images: ``(B, K, C, *patch)``: K crops of each of B places.
            generator: Where the randomness comes from.

        Returns:
            For each view ``(B * k, C, *patch)``, the k crops of one place together.

        Raises:
            ConfigError: If the places hold fewer crops than a view asks for.
        """
        host = host_generator(generator)
        return [view(images, host) for view in self.views]
