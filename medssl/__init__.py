"""Self-supervised pretraining and few-label fine-tuning for CT and MRI.

The public names are loaded when they are first asked for (PEP 562), so that ``import medssl`` is
quick and imports neither torch nor monai.

Example:
    >>> import medssl
    >>> medssl.Store.__module__
    'medssl.store.store'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medssl.cohort.cohort import Cohort as Cohort
    from medssl.commands.demo import demo as demo
    from medssl.commands.embed import embed as embed
    from medssl.commands.evaluate import evaluate as evaluate
    from medssl.commands.export import export as export
    from medssl.commands.finetune import finetune as finetune
    from medssl.commands.index import index as index
    from medssl.commands.info import info as info
    from medssl.commands.predict import predict as predict
    from medssl.commands.prepare import prepare as prepare
    from medssl.commands.pretrain import pretrain as pretrain
    from medssl.commands.probe import probe as probe
    from medssl.commands.verify import verify as verify
    from medssl.encoders.base import list_encoders as list_encoders
    from medssl.errors import MedsslError as MedsslError
    from medssl.io.read import read_volume as read_volume
    from medssl.methods.base import list_methods as list_methods
    from medssl.store.store import Store as Store
    from medssl.tasks.model import load_model as load_model
    from medssl.types import Volume as Volume
    from medssl.weights.load import load_encoder as load_encoder
    from medssl.weights.zoo import list_weights as list_weights

_HOMES = {
    "index": "medssl.commands.index",
    "prepare": "medssl.commands.prepare",
    "pretrain": "medssl.commands.pretrain",
    "finetune": "medssl.commands.finetune",
    "predict": "medssl.commands.predict",
    "evaluate": "medssl.commands.evaluate",
    "embed": "medssl.commands.embed",
    "probe": "medssl.commands.probe",
    "export": "medssl.commands.export",
    "verify": "medssl.commands.verify",
    "info": "medssl.commands.info",
    "demo": "medssl.commands.demo",
    "load_encoder": "medssl.weights.load",
    "load_model": "medssl.tasks.model",
    "list_methods": "medssl.methods.base",
    "list_encoders": "medssl.encoders.base",
    "list_weights": "medssl.weights.zoo",
    "read_volume": "medssl.io.read",
    "Cohort": "medssl.cohort.cohort",
    "Store": "medssl.store.store",
    "Volume": "medssl.types",
    "MedsslError": "medssl.errors",
}
"""Where each public name lives."""

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - the names of a dictionary are strings


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("medssl")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f'medssl has no "{name}"; see dir(medssl)')
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
