"""Where to look: the anatomy-aware part."""

from medssl.sampling.balance import LabelBalanced
from medssl.sampling.body import Body
from medssl.sampling.counter import rng, volume_index
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.grid import Grid
from medssl.sampling.places import Sampler, Uniform
from medssl.sampling.slices import Slices

__all__ = [
    "Body",
    "Grid",
    "LabelBalanced",
    "Sampler",
    "Slices",
    "Uniform",
    "VolumeFacts",
    "rng",
    "volume_index",
]
