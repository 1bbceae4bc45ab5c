"""A duel: one discriminator judging real and fake inputs. All that a loss or a regularizer ever sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganrun.ground.spec import Verdict

Inputs = tuple[Tensor, ...]


class Duel:
    """Real against fake before one discriminator.

    ``real`` and ``fake`` are tuples of inputs, each of the kind that ``kinds`` says ("data" or "code"). Targets are
    floats or tensors of shape (n,). The verdicts are computed once, when first read; ``together`` allows one forward
    pass over both sides, which is exact wherever the discriminator treats samples of a batch independently.
    """

    def __init__(
        self,
        discriminator: Callable[..., Verdict],
        real: Inputs,
        fake: Inputs,
        *,
        kinds: tuple[str, ...] = ("data",),
        real_condition: Tensor | None = None,
        fake_condition: Tensor | None = None,
        together: bool = False,
    ) -> None:
        self.discriminator = discriminator
        self.real, self.fake, self.kinds = real, fake, kinds
        self.real_condition, self.fake_condition = real_condition, fake_condition
        self.real_target: float | Tensor = 1.0
        self.fake_target: float | Tensor = 0.0
        self.fake_weight: float = 1.0
        self.together = together
        self._verdicts: dict[str, Verdict] = {}
        self._watched: set[str] = set()

    def judge(self, inputs: Inputs, condition: Tensor | None) -> Verdict:
        """A further look at any inputs."""
        verdict = self.discriminator(*inputs) if condition is None else self.discriminator(*inputs, condition=condition)
        if verdict.score.dtype in (torch.bfloat16, torch.float16):  # losses are computed in full precision
            verdict.score = verdict.score.float()
        return verdict

    @property
    def real_verdict(self) -> Verdict:
        """The discriminator's verdict on the real inputs, computed once."""
        return self._verdict("real")

    @property
    def fake_verdict(self) -> Verdict:
        """The discriminator's verdict on the fake inputs, computed once."""
        return self._verdict("fake")

    def look(self) -> None:
        """Judge both sides now: in one forward pass where allowed.

        A watched side gets a pass of its own, so that its second derivatives do not run over the other side's rows.
        """
        if not self.together or self._watched or self._verdicts or self._shapes("real") != self._shapes("fake"):
            _ = self.real_verdict, self.fake_verdict
            return
        count = self.real[0].shape[0]
        inputs = tuple(torch.cat(pair) for pair in zip(self.real, self.fake, strict=True))
        condition = None
        if self.real_condition is not None and self.fake_condition is not None:
            condition = torch.cat((self.real_condition, self.fake_condition))
        both = self.judge(inputs, condition)
        self._verdicts = {"real": _rows(both, slice(None, count)), "fake": _rows(both, slice(count, None))}

    def watch(self, side: str) -> None:
        """Ask, before the verdicts, that ``slope`` of this side may be taken through the main verdict."""
        inputs = tuple(entry.detach().requires_grad_() for entry in self._inputs(side))
        setattr(self, side, inputs)
        self._watched.add(side)

    def slope(self, side: str) -> Tensor:
        """Squared norm of the score's gradient at each input of ``side``: shape (n,), differentiable.

        Uses the main verdict where the side is watched and full precision holds, a further look in float32 otherwise:
        second derivatives of a bfloat16 pass are too coarse to penalise.
        """
        inputs, device = self._inputs(side), self._inputs(side)[0].device.type
        if side in self._watched and not torch.is_autocast_enabled(device):
            return squared_slope(self._verdict(side).score, inputs)
        condition = self.real_condition if side == "real" else self.fake_condition
        return self.slope_at(inputs, condition)

    def slope_at(self, inputs: Inputs, condition: Tensor | None) -> Tensor:
        """Squared norm of the score's gradient at ``inputs``, by a further look in float32: shape (n,)."""
        inputs = tuple(entry.detach().requires_grad_() for entry in inputs)
        with torch.autocast(inputs[0].device.type, enabled=False):
            return squared_slope(self.judge(inputs, condition).score, inputs)

    def _inputs(self, side: str) -> Inputs:
        return self.real if side == "real" else self.fake

    def _shapes(self, side: str) -> list[torch.Size]:
        return [entry.shape[1:] for entry in self._inputs(side)]

    def _verdict(self, side: str) -> Verdict:
        if side not in self._verdicts:
            condition = self.real_condition if side == "real" else self.fake_condition
            self._verdicts[side] = self.judge(self._inputs(side), condition)
        return self._verdicts[side]


def squared_slope(score: Tensor, inputs: Inputs) -> Tensor:
    """||d score_i / d inputs_i||^2 for each sample i, summed over all inputs and all but the first dimension.

    Scores are summed before differentiating: samples are independent, so each gets its own gradient.
    Returns shape (n,), with a graph for second derivatives.
    """
    gradients = torch.autograd.grad(score.sum(), inputs, create_graph=True)
    return torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)


def _rows(verdict: Verdict, rows: slice) -> Verdict:
    return Verdict(
        score=verdict.score[rows],
        features=None if verdict.features is None else verdict.features[rows],
        heads={name: head[rows] for name, head in verdict.heads.items()},
    )
