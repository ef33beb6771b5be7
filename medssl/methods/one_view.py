"""What methods share that learn from one view of a crop: where they look and how it is turned."""

from __future__ import annotations

from typing import Any

from medssl.methods.base import Method
from medssl.sampling.body import Body
from medssl.sampling.places import Sampler
from medssl.transforms.presets import gentle_geometry
from medssl.transforms.views import ViewRecipe

__all__ = ["OneViewMethod"]


class OneViewMethod(Method):
    """A method that hides or damages what it sees by itself, in its loss.

    Args:
        body_share: Least share of body in a crop.
        **shared: Encoder and patch, see :class:`Method`.
    """

    def __init__(self, *, body_share: float = 0.3, **shared: Any) -> None:
        super().__init__(**shared)
        self.body_share = body_share

    def places(self) -> Sampler:
        """Look where there is body."""
        return Body(share=self.body_share)

    def views(self) -> ViewRecipe:
        """One view, turned and scaled a little; left stays left."""
        return ViewRecipe.single(gentle_geometry())
