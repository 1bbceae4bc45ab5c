"""The optimizers of torch.optim that GANs are trained with, fused where the device allows."""

from __future__ import annotations

from torch.nn import Parameter
from torch.optim import SGD, Adam, Optimizer, RMSprop

from ganrun.ground.registry import register
from ganrun.optimizers.base import moving
from ganrun.optimizers.schedule import cosine, linear


def _check(lr: float, **others: float) -> None:
    if lr < 0:
        raise ValueError(f"lr={lr} must not be negative")
    for name, value in others.items():
        if value < 0:
            raise ValueError(f"{name}={value} must not be negative")


@register("optimizer", "adam")
def adam(
    parameters: list[Parameter],
    *,
    lr: float = 2e-4,
    betas: list[float] = [0.5, 0.999],
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    betas_final: list[float] | None = None,
) -> Optimizer:
    """Adam (Kingma and Ba 2015) with DCGAN's settings (Radford et al. 2016).

    ``betas_final``: what the betas become over the run, along half a cosine, as in R3GAN's code (Huang et al. 2024).
    """
    _check(lr, eps=eps, weight_decay=weight_decay)
    for key, pair in (("betas", betas), ("betas_final", betas if betas_final is None else betas_final)):
        if len(pair) != 2 or not all(0 <= beta < 1 for beta in pair):
            raise ValueError(f"{key}={list(pair)} must be two numbers in [0, 1)")
    first = (float(betas[0]), float(betas[1]))
    made = Adam(parameters, lr=lr, betas=first, eps=eps, weight_decay=weight_decay, fused=_fused(parameters))
    return made if betas_final is None else moving(made, "betas", first, tuple(map(float, betas_final)), cosine)


@register("optimizer", "rmsprop")
def rmsprop(
    parameters: list[Parameter],
    *,
    lr: float = 5e-5,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> Optimizer:
    """RMSProp (Hinton 2012) with WGAN's learning rate (Arjovsky et al. 2017)."""
    _check(lr, eps=eps, momentum=momentum, weight_decay=weight_decay)
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha={alpha} must be in [0, 1)")
    return RMSprop(parameters, lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=weight_decay)


@register("optimizer", "sgd")
def sgd(
    parameters: list[Parameter],
    *,
    lr: float = 1e-2,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    momentum_final: float | None = None,
) -> Optimizer:
    """Stochastic gradient descent.

    ``momentum_final``: what the momentum becomes over the run, along a line, as in maxout networks (Goodfellow et al. 2013).
    """
    _check(lr, momentum=momentum, weight_decay=weight_decay, momentum_final=momentum_final or 0.0)
    if momentum_final is not None and momentum == 0:
        raise ValueError(f"momentum_final={momentum_final}: needs momentum above 0 to start from")
    if nesterov and momentum == 0:
        raise ValueError("nesterov=true needs momentum above 0")
    made = SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    return made if momentum_final is None else moving(made, "momentum", momentum, momentum_final, linear)


def _fused(parameters: list[Parameter]) -> bool:
    """Whether one kernel can update all parameters: they are floating point on the CPU or on CUDA."""
    return all(parameter.device.type in ("cpu", "cuda") and parameter.is_floating_point() for parameter in parameters)
