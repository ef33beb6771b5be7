"""One self-supervised method a file."""

from medssl.methods.adam import Adam
from medssl.methods.alice import Alice
from medssl.methods.barlow_twins import BarlowTwins
from medssl.methods.base import METHODS, Method, list_methods
from medssl.methods.byol import BYOL
from medssl.methods.chexworld import CheXWorld
from medssl.methods.dino import DINO
from medssl.methods.dinov2 import DINOv2
from medssl.methods.discovr import DISCOVR
from medssl.methods.dmjd import DMJD
from medssl.methods.gvsl import GVSL
from medssl.methods.ibot import IBOT
from medssl.methods.jepa import JEPA
from medssl.methods.joint import Joint
from medssl.methods.lvm_med import LVMMed
from medssl.methods.mae import MAE
from medssl.methods.mae_cnn import MAECNN
from medssl.methods.mixed_ae import MixedAE
from medssl.methods.mmcr import MMCR
from medssl.methods.moco import MoCo
from medssl.methods.models_genesis import ModelsGenesis
from medssl.methods.pcrlv2 import PCRLv2
from medssl.methods.simclr import SimCLR
from medssl.methods.simmim import SimMIM
from medssl.methods.simsiam import SimSiam
from medssl.methods.sit import SiT
from medssl.methods.slice_position import SlicePosition
from medssl.methods.spark import SparK
from medssl.methods.swav import SwAV
from medssl.methods.swin_unetr import SwinUNETR
from medssl.methods.uni4eye import Uni4Eye
from medssl.methods.vicreg import VICReg
from medssl.methods.voco import VoCo
from medssl.methods.volume_fusion import VolumeFusion

__all__ = [
    "BYOL",
    "DINO",
    "DISCOVR",
    "DMJD",
    "GVSL",
    "IBOT",
    "JEPA",
    "MAE",
    "MAECNN",
    "METHODS",
    "MMCR",
    "Adam",
    "Alice",
    "BarlowTwins",
    "CheXWorld",
    "DINOv2",
    "Joint",
    "LVMMed",
    "Method",
    "MixedAE",
    "MoCo",
    "ModelsGenesis",
    "PCRLv2",
    "SiT",
    "SimCLR",
    "SimMIM",
    "SimSiam",
    "SlicePosition",
    "SparK",
    "SwAV",
    "SwinUNETR",
    "Uni4Eye",
    "VICReg",
    "VoCo",
    "VolumeFusion",
    "list_methods",
]
