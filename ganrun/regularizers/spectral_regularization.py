"""W -> (W + U diag(delta) V') / sigma_1, W = U diag(sigma) V' as an (outputs, rest) matrix.  Liu et al. 2019.

"Spectral Regularization for Combating Mode Collapse in GANs", where collapse goes with a falling spectrum of the normalized
weights. Of r singular values the new j-th is

static(i)   1 for j <= i and sigma_j / sigma_1 after: delta_j = sigma_1 - sigma_j or 0. With i = 1 this is spectral norm.
dynamic     gamma_j, the largest sigma_j / sigma_1 so far: delta_j = gamma_j sigma_1 - sigma_j

with gamma kept by position j, not by direction, from the initial weights on. As the paper has it this is a parametrization of
every convolution, linear layer and embedding of the discriminator, as spectral normalization is, and of nothing in a
normalization of features; both released codes rewrite the weights of convolutions in place at every fifth update instead,
static with i = r // 2. The decomposition is made right after an update, every ``every``-th: where matrices are large it costs
more than the update. Between two of them U, V, delta and gamma are constants, as they are in the gradient, and sigma_1 = u_1' W
v_1. In evaluation mode the present weights (those of a running average) are decomposed anew and nothing is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.matrices import as_matrix, as_weight, output_dimension, weighted_modules
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer, check_weight

MODES = ("static", "dynamic")


class Compensated(nn.Module):
    """The parametrization W -> (W + compensation) / (u' W v). ``dim`` is the dimension of W that counts outputs.

    ``index``: i of the static mode, which may exceed a layer's r (None: half of r, at least one). ``gamma`` exists in the
    dynamic mode only.
    """

    u: Tensor
    v: Tensor
    compensation: Tensor
    gamma: Tensor

    def __init__(self, weight: Tensor, dim: int, mode: str, index: int | None) -> None:
        super().__init__()
        matrix = as_matrix(weight.detach(), dim)
        rank = min(matrix.shape)
        self.dim, self.dynamic = dim, mode == "dynamic"
        self.index = max(rank // 2, 1) if index is None else index
        self.register_buffer("u", matrix.new_zeros(len(matrix)))
        self.register_buffer("v", matrix.new_zeros(matrix.shape[1]))
        self.register_buffer("compensation", torch.zeros_like(weight.detach()))
        if self.dynamic:
            self.register_buffer("gamma", matrix.new_zeros(rank))
        self.decompose(weight)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            u, v, compensation = (self.u, self.v, self.compensation) if self.training else self._found(weight)[:3]
            return (weight + compensation) / torch.dot(u, torch.mv(as_matrix(weight, self.dim), v))

    @torch.no_grad()
    def decompose(self, weight: Tensor) -> None:
        """Take in ``weight`` as it is after an update; the buffers change in place."""
        u, v, compensation, gamma = self._found(weight)
        self.u.copy_(u)
        self.v.copy_(v)
        self.compensation.copy_(compensation)
        if self.dynamic:
            self.gamma.copy_(gamma)

    @torch.no_grad()
    def _found(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(u_1, v_1, U diag(delta) V' in the weight's shape, the wanted sigma_j / sigma_1) of ``weight``."""
        left, values, right = torch.linalg.svd(as_matrix(weight, self.dim), full_matrices=False)
        gamma = values / values[0]
        if self.dynamic:
            gamma = torch.maximum(self.gamma, gamma)
        else:
            gamma[: self.index] = 1
        compensation = (left * (gamma * values[0] - values)) @ right
        return left[:, 0], right[0], as_weight(compensation, weight, self.dim), gamma


@register("regularizer", "spectral_regularization")
class SpectralRegularization(Regularizer):
    """Divide every weight matrix of the discriminator by its largest singular value and lift the others."""

    traits = frozenset({"lipschitz"})

    def __init__(self, *, mode: str = "static", index: int | None = None, every: int = 1) -> None:
        super().__init__()
        check_weight(1.0, every)
        if mode not in MODES:
            raise BadInput(f"regularizer.spectral_regularization.mode={mode}: {suggestion(mode, MODES)}")
        if index is not None and mode != "static":
            raise BadInput(f"index={index}: only mode=static lifts a given number of singular values. Try index=null")
        if index is not None and (not isinstance(index, int) or index < 1):
            raise ValueError(f"index={index} must be a whole number of at least 1, or null for half of the singular values")
        self.mode, self.index, self.every = mode, index, every

    def prepare(self, players: Players) -> None:
        for player in players.values():
            for module in weighted_modules(player):
                if any(isinstance(inner, Compensated) for inner in module.modules()):
                    continue  # shared with a player that came before
                weight = module.weight
                assert isinstance(weight, Tensor)
                entry = Compensated(weight, output_dimension(module), self.mode, self.index)
                parametrize.register_parametrization(module, "weight", entry)

    @torch.no_grad()
    def after_step(self, players: Players, duel: Duel, turn: Turn) -> None:
        if not self.due(turn):
            return
        for player in players.values():
            for module in player.modules():
                if isinstance(module, parametrize.ParametrizationList):
                    weight = module.original
                    for entry in module:  # what stands before it, such as a division by the norm, has moved already
                        if isinstance(entry, Compensated):
                            entry.decompose(weight)
                        weight = entry(weight)
