"""Real samples with a wrong label count as fake (Reed et al. 2016, "Generative Adversarial Text to Image Synthesis").

D: E l(x, y) against half E l(G(z, y), y) + half E l(x, y~), y~ uniform over the labels other than y. Each half is a duel of its
own with the same real side, so any loss fits: with the logistic loss, sp(-s(x, y)) + sp(s(G(z, y), y)) / 2 + sp(s(x, y~)) / 2.
Where q = p and classes do not overlap the best D is 2/3 on matched pairs, and D's loss -log(2/3) - log(1/3) / 2 = 0.9548.
Penalties and the generator see the first duel alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganrun.games.conditions.base import Terms
from ganrun.games.conditions.concat import Concatenation
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.spec import Spec
from ganrun.ground.turn import Turn
from ganrun.losses.base import Loss


@register("condition", "matching_aware")
class MatchingAware(Concatenation):
    """Concatenated labels, and a discriminator that must also tell a wrong one."""

    traits = frozenset({"condition.mismatched"})

    def check_batch(self, size: int, spec: Spec) -> None:
        if (spec.classes or 0) < 2:
            raise BadInput("condition=matching_aware: a wrong label needs at least two classes. Try condition=concat")
        self.classes = int(spec.classes or 0)

    def objective(self, loss: Loss, duel: Duel, turn: Turn, side: str) -> Terms:
        if side != "discriminator":
            return super().objective(loss, duel, turn, side)
        assert duel.real_condition is not None
        draw = turn.noise("wrong labels", duel.real_condition.to(torch.float64), "uniform")
        wrong = wrong_labels(duel.real_condition, draw, self.classes)
        mismatched = duel.against(duel.real, wrong)
        if isinstance(mismatched.fake_target, Tensor):  # there may be more fakes than real samples
            mismatched.fake_target = mismatched.fake_target[: len(wrong)]
        return {"loss": (loss.d(duel) + loss.d(mismatched)) / 2}


def wrong_labels(labels: Tensor, uniform: Tensor, classes: int) -> Tensor:
    """For each label another one, all others being equally likely; ``uniform``: U(0, 1) of the labels' shape."""
    shift = 1 + (uniform * (classes - 1)).long().clamp_max(classes - 2)
    return (labels + shift) % classes
