"""One self-supervised method a file."""

from medssl.methods.base import METHODS, Method, list_methods
from medssl.methods.mae import MAE
from medssl.methods.mae_cnn import MAECNN
from medssl.methods.voco import VoCo

__all__ = ["MAE", "MAECNN", "METHODS", "Method", "VoCo", "list_methods"]
