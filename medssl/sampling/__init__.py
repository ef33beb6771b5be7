"""Where to look: the anatomy-aware part."""

from medssl.sampling.balance import LabelBalanced
from medssl.sampling.body import Body
from medssl.sampling.correspondence import LearnedPairs
from medssl.sampling.counter import VolumeOrder, rng, volume_index
from medssl.sampling.facts import VolumeFacts
from medssl.sampling.grid import Grid
from medssl.sampling.pairs import Pairs
from medssl.sampling.partners import Corresponding, JointSampler, Partners
from medssl.sampling.places import Sampler, Uniform
from medssl.sampling.scales import PartWhole
from medssl.sampling.slices import SlicePosition, Slices
from medssl.sampling.tissue import Tissue

__all__ = [
    "Body",
    "Corresponding",
    "Grid",
    "JointSampler",
    "LabelBalanced",
    "LearnedPairs",
    "Pairs",
    "PartWhole",
    "Partners",
    "Sampler",
    "SlicePosition",
    "Slices",
    "Tissue",
    "Uniform",
    "VolumeFacts",
    "VolumeOrder",
    "rng",
    "volume_index",
]
