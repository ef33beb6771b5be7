"""What methods share that compare two looks at the same anatomy."""

from __future__ import annotations

from typing import Any

from medssl.methods.base import Method
from medssl.parts.two_views import Modality, TwoViews
from medssl.sampling.places import Sampler
from medssl.transforms.views import ViewRecipe

__all__ = ["TwoViewMethod"]


class TwoViewMethod(Method):
    """A method whose views come from :class:`~medssl.parts.two_views.TwoViews`.

    Args:
        crops: Crops of a place, each seen twice; crops of one patient that share nothing are
            strangers that only anatomy tells apart.
        overlap: Least and greatest intersection over union of two crops that are the two views, as
            they were cut; none takes views of the same crop.
        strength: Of the changes of intensity.
        modality: Whose intensities they are; CT gets milder changes.
        **shared: Encoder and patch, see :class:`Method`.

    Raises:
        ConfigError: If there is no crop.
    """

    def __init__(
        self,
        *,
        crops: int = 4,
        overlap: tuple[float, float] | None = None,
        strength: float = 1.0,
        modality: Modality = "other",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.pair = TwoViews(crops=crops, overlap=overlap, strength=strength, modality=modality)

    def places(self) -> Sampler:
        """Look where there is body."""
        return self.pair.places()

    def views(self) -> ViewRecipe:
        """Two views of each crop, or one of each of two crops that overlap."""
        return self.pair.recipe()
