"""The one optimiser builder.

Norms, biases and tokens get no weight decay, in every method and task: decaying them is the slip
most often found in reference code.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from medssl.training.config import OptimConfig
from medssl.training.schedules import cosine_between, learning_rate_factor

__all__ = ["build_optimizer", "build_scheduler", "decay_weights_by", "parameter_groups"]


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
            "decays": decays,
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
    return LambdaLR(optimizer, partial(learning_rate_factor, total=steps, optim=optim))


def decay_weights_by(optimizer: Optimizer, optim: OptimConfig, step: int, steps: int) -> None:
    """Set the weight decay of a step, where it is to change over the run.

    Args:
        optimizer: Its groups without decay stay so.
        optim: The settings.
        step: Steps taken so far.
        steps: Steps of the whole run.
    """
    if optim.final_weight_decay is None:
        return
    decay = cosine_between(step, steps, start=optim.weight_decay, end=optim.final_weight_decay)
    for group in optimizer.param_groups:
        if group["decays"]:
            group["weight_decay"] = decay
