"""The generator looks ahead at the discriminator to come.  Metz et al. 2017, "Unrolled Generative Adversarial Networks".

With theta^0 = theta_D and theta^{k+1} = theta^k - step(grad L_D(theta_G, theta^k)), G minimises f(theta_G, theta^K):

    d/d theta_G = partial f / partial theta_G + partial f / partial theta^K * d theta^K / d theta_G.

``first_order`` drops the second term. f is the generator's loss, or with ``zero_sum`` minus the discriminator's, as in the paper.
L_D is all of the discriminator's objective, regularizers too, in every step on the real batch and the fakes of G's own turn (of
one micro-batch), with new noise and interpolates; the points that penalties are taken at are constants. ``inner`` is plain
gradient descent (sgd) or Adam from moments of zero, m / sqrt(v + 1e-8): with the 1e-8 inside the root, whose own slope at
zero is infinite. The discriminator proper, its buffers and its optimizer never move here, and nothing that acts after real
updates does: no clipping, no power iteration, no controller. The graph of all K steps is kept, so memory grows with K.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganrun.games.base import Game, Terms
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn

Tensors = dict[str, Tensor]

INNER = ("adam", "sgd")
BETAS = (0.5, 0.999)
EPSILON = 1e-8


class Descent:
    """A differentiable inner rule, with a state of its own that begins at zero."""

    def __init__(self, inner: str, lr: float) -> None:
        self.inner, self.lr, self.count = inner, lr, 0
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}

    def step(self, weights: Tensors, gradients: Tensors) -> Tensors:
        """The weights after one more step."""
        self.count += 1
        return {name: entry - self.lr * self._direction(name, gradients[name]) for name, entry in weights.items()}

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        if self.inner == "sgd":
            return gradient
        zero = torch.zeros_like(gradient)
        first, second = self.moments.get(name, (zero, zero))
        first = BETAS[0] * first + (1 - BETAS[0]) * gradient
        second = BETAS[1] * second + (1 - BETAS[1]) * gradient.square()
        self.moments[name] = first, second
        unbiased = second / (1 - BETAS[1] ** self.count)
        return first / (1 - BETAS[0] ** self.count) / (unbiased + EPSILON).sqrt()


class Stage(nn.Module):
    """A network as a place where other weights can be put for a while."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, act: Callable[[], Terms]) -> Terms:
        return act()


@register("game", "unrolled")
class Unrolled(Game):
    """The adversarial game, whose generator plays against the discriminator of ``steps`` updates later."""

    def __init__(
        self,
        *,
        steps: int = 5,
        inner: str = "adam",
        inner_lr: float = 1e-4,
        first_order: bool = False,
        zero_sum: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if steps < 0:
            raise ValueError(f"steps={steps} must not be negative; 0 looks no step ahead")
        if inner not in INNER:
            raise BadInput(f"inner={inner}: {suggestion(inner, INNER)}")
        if inner_lr <= 0:
            raise ValueError(f"inner_lr={inner_lr} must be positive")
        self.steps, self.inner, self.inner_lr = steps, inner, inner_lr
        self.first_order, self.zero_sum = first_order, zero_sum

    def generator_loss(self, turn: Turn) -> Terms:
        duel = self.duel(turn)
        if not self.steps:
            return self.against_it(duel, turn)
        weights, buffers = self.foresee(duel, turn)
        return self.with_weights(weights, buffers, functools.partial(self.against_it, duel, turn))

    def against_it(self, duel: Duel, turn: Turn) -> Terms:
        """The generator's objective before the discriminator as it stands."""
        terms = self.compute_terms(duel, turn, "generator")
        if self.zero_sum:
            terms["loss"] = -self.condition.objective(self.loss, duel, turn, "discriminator")["loss"]
        return terms

    def foresee(self, duel: Duel, turn: Turn) -> tuple[Tensors, Tensors]:
        """The discriminator's weights after ``steps`` virtual updates, with a graph back to the fakes, and its buffers."""
        player = self.players["discriminator"]
        weights = {name: _leaf(entry) for name, entry in player.named_parameters()}
        buffers = {name: entry.clone() for name, entry in player.named_buffers()}
        rule = Descent(self.inner, self.inner_lr)
        fake = tuple(entry.detach() for entry in duel.fake) if self.first_order else duel.fake
        with torch.enable_grad():
            for step in range(self.steps):
                ahead = self._ahead(turn, step)
                virtual = self.against(duel.real, fake, duel.real_condition)
                virtual.remake = duel.remake
                act = functools.partial(self.compute_terms, virtual, ahead, "discriminator", virtual=True)
                terms = self.with_weights(weights, buffers, act)
                total = torch.stack(list(terms.values())).sum()
                found = torch.autograd.grad(
                    total, list(weights.values()), create_graph=not self.first_order, materialize_grads=True
                )
                weights = rule.step(weights, dict(zip(weights, found, strict=True)))
                if self.first_order:
                    weights = {name: _leaf(entry) for name, entry in weights.items()}
        return weights, buffers

    def with_weights(self, weights: Tensors, buffers: Tensors, act: Callable[[], Terms]) -> Terms:
        """What ``act`` returns while the discriminator holds other weights and buffers."""
        for entry in weights.values():
            entry._is_param = True  # type: ignore[attr-defined]  # penalties on weights ask whether a tensor is a Parameter
        held = {f"network.{name}": entry for name, entry in {**weights, **buffers}.items()}
        terms: Terms = functional_call(Stage(self.players["discriminator"]), held, (act,))
        return terms

    def _ahead(self, turn: Turn, step: int) -> Turn:
        """The turn of a virtual update: it draws as the discriminator's next one would, if there were one more in this step."""
        phase = self._phases["discriminator"]
        update = (turn.step + 1) * phase.repeat + step
        return replace(turn, phase=phase.name, repeat=phase.repeat + step, update=update)


def _leaf(entry: Tensor) -> Tensor:
    return entry.detach().clone().requires_grad_()
