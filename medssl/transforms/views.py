"""What a method is shown of each place: which crops, and what is done to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medssl.errors import ConfigError
from medssl.transforms.base import Params, Transform
from medssl.transforms.draws import host_generator

__all__ = ["View", "ViewRecipe", "merged"]


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
        return self.apply(images, self.draw(images.shape, host_generator(generator)))

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Params:
        """Draw the parameters of this view; none if nothing is done to the crops.

        Args:
            shape: ``(B, K, C, *patch)``.
            generator: Where the randomness comes from.

        Raises:
            ConfigError: If the places hold fewer crops than the view asks for.
        """
        flat = self._shape(shape)
        return {} if self.transform is None else self.transform.draw(flat, generator)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Return this view as it was drawn.

        Args:
            images: ``(B, K, C, *patch)``.
            params: From :meth:`draw`.
        """
        wanted = self._wanted(images.shape)
        all_in_order = wanted == list(range(images.shape[1]))
        flat = (images if all_in_order else images[:, wanted]).flatten(0, 1)
        return flat if self.transform is None else self.transform.apply(flat, params)

    def frames(self, shape: Sequence[int], params: Params) -> Tensor:
        """Return from where in its crop each place of the view was read, ``(B * k, d, d + 1)``.

        See :mod:`medssl.transforms.frames` for what can be done with it.

        Args:
            shape: ``(B, K, C, *patch)``.
            params: From :meth:`draw`.
        """
        flat = self._shape(shape)
        if self.transform is None:
            return torch.eye(len(flat) - 2, len(flat) - 1).expand(flat[0], -1, -1)
        return self.transform.frames(flat, params)

    def _shape(self, shape: Sequence[int]) -> torch.Size:
        return torch.Size([shape[0] * len(self._wanted(shape)), *shape[2:]])

    def _wanted(self, shape: Sequence[int]) -> list[int]:
        count = shape[1]
        wanted = list(range(count) if self.crops is None else self.crops)
        if any(not 0 <= crop < count for crop in wanted):
            raise ConfigError(
                f"a view asks for crops {wanted} and the sampler cuts {count} a place; "
                "sampler and views of a method must agree"
            )
        return wanted


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

    @classmethod
    def multicrop(
        cls,
        first: Transform,
        local: Transform,
        *,
        second: Transform | None = None,
        local_views: int = 8,
    ) -> ViewRecipe:
        """Return two large views of every crop and several small ones, all drawn apart.

        Views may differ in size: each transform starts with a
        :class:`~medssl.transforms.crop.CropResize` that names its own.

        Args:
            first: What is done for the first large view.
            local: What is done for each small one.
            second: What is done for the second large view; by default the same as for the first.
            local_views: Number of small views.
        """
        large = (first, first if second is None else second)
        return cls(tuple(View(transform=each) for each in (*large, *[local] * local_views)))

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
        return self.apply(images, self.draw(images.shape, generator))

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> list[Params]:
        """Draw the parameters of all views, for methods that ask how views lie to each other.

        Args:
            shape: ``(B, K, C, *patch)``.
            generator: Where the randomness comes from.

        Raises:
            ConfigError: If the places hold fewer crops than a view asks for.
        """
        host = host_generator(generator)
        return [view.draw(shape, host) for view in self.views]

    def apply(self, images: Tensor, drawn: Sequence[Params]) -> list[Tensor]:
        """Make the views as they were drawn.

        Args:
            images: ``(B, K, C, *patch)``.
            drawn: From :meth:`draw`.
        """
        return [view.apply(images, mine) for view, mine in zip(self.views, drawn, strict=True)]

    def frames(self, shape: Sequence[int], drawn: Sequence[Params]) -> list[Tensor]:
        """Return where in their crops the views lie, ``(B * k, d, d + 1)`` each, on the host.

        Args:
            shape: ``(B, K, C, *patch)``.
            drawn: From :meth:`draw`.
        """
        return [view.frames(shape, mine) for view, mine in zip(self.views, drawn, strict=True)]


def merged(recipes: Mapping[str, ViewRecipe]) -> tuple[ViewRecipe, dict[str, list[int]]]:
    """Return the views of all recipes, equal ones once, and where each recipe finds its own.

    Two equal views of one recipe are two draws, so they stay two.

    Args:
        recipes: By a name.

    Returns:
        The views of all, and for each name the numbers of its own among them.
    """
    views: list[View] = []
    slots: dict[str, list[int]] = {}
    for label, recipe in recipes.items():
        free = list(range(len(views)))
        slots[label] = []
        for view in recipe.views:
            slot = next((n for n in free if views[n] == view), None)
            if slot is None:
                slot = len(views)
                views.append(view)
            else:
                free.remove(slot)
            slots[label].append(slot)
    return ViewRecipe(tuple(views)), slots
