"""What is learnt from labelled cases: segmentation, classification, and finished models."""

from medssl.tasks.base import TASKS, Task, list_tasks
from medssl.tasks.classification import Classification
from medssl.tasks.model import Model, load_model
from medssl.tasks.segmentation import Segmentation

__all__ = [
    "TASKS",
    "Classification",
    "Model",
    "Segmentation",
    "Task",
    "list_tasks",
    "load_model",
]
