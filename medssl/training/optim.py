"""The one optimiser builder.

Norms, biases and tokens get no weight decay, in every method and task: decaying them is the slip
most often found in reference code.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from medssl.training.config import OptimConfig
from medssl.training.schedules import learning_rate_factor

__all__ = ["build_optimizer", "build_scheduler", "parameter_groups"]


def parameter_groups(
    module: nn.Module, encoder: nn.Module, optim: OptimConfig
) -> list[dict[str, Any]]:
    """Sort the trainable parameters by weight decay and learning rate.

    Args:
        module: A method or task.
        encoder: The part of it that is trained at ``encoder_lr_ratio`` of the rate.
        optim: The settings.
    """
    in_encoder = {id(parameter) for parameter in encoder.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim > 1 and "token" not in name, id(parameter) in in_encoder)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": optim.weight_decay if decays else 0.0,
            "lr": optim.lr * (optim.encoder_lr_ratio if of_encoder else 1.0),
        }
        for (decays, of_encoder), parameters in groups.items()
    ]


def build_optimizer(module: nn.Module, encoder: nn.Module, optim: OptimConfig) -> AdamW:
    """Return AdamW over the trainable parameters of ``module``."""
    # the fused kernel updates all tensors in one pass; on a CPU the plain loop is as fast
    fused = next(module.parameters()).is_cuda
    return AdamW(
        parameter_groups(module, encoder, optim), lr=optim.lr, betas=optim.betas, fused=fused
    )


def build_scheduler(optimizer: AdamW, optim: OptimConfig, steps: int) -> LambdaLR:
    """Return the learning rate schedule, to be stepped once an optimiser step."""
    factor = partial(
        learning_rate_factor,
        total=steps,
        warmup=optim.warmup,
        schedule=optim.schedule,
        final_ratio=optim.final_lr_ratio,
    )
    return LambdaLR(optimizer, factor)
