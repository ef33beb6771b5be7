"""One family of encoders a file, all under the contract of :mod:`medssl.encoders.base`."""

from medssl.encoders.base import ENCODERS, Encoder, build_encoder, list_encoders
from medssl.encoders.genesis import GenesisEncoder
from medssl.encoders.plain import PlainEncoder
from medssl.encoders.primus import Primus
from medssl.encoders.resenc import ResidualEncoder
from medssl.encoders.resnet import ResNet
from medssl.encoders.segresnet import DeepSegResNet, SegResNet
from medssl.encoders.swin import Swin
from medssl.encoders.vit import ViT

__all__ = [
    "ENCODERS",
    "DeepSegResNet",
    "Encoder",
    "GenesisEncoder",
    "PlainEncoder",
    "Primus",
    "ResNet",
    "ResidualEncoder",
    "SegResNet",
    "Swin",
    "ViT",
    "build_encoder",
    "list_encoders",
]
