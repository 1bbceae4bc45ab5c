"""weight * (E_p (s(x) - a_F)^2 + E_q (s(G(z)) - a_R)^2).  Tseng et al. 2021, "Regularizing GANs under Limited Data" (LeCam).

a_R and a_F are running means of the scores of real samples and of fakes, constants to the gradient: each side is held near to
where the other has been. With the Wasserstein critic's loss and fixed a_R = a = -a_F, the best critic gives the generator
(1 / (2 weight) - a) sum (p - q)^2 / (p + q), a LeCam divergence. After t updates of D with mean scores m_1 .. m_t,

    a = (1 - decay) sum_i decay^(t - i) m_i / (1 - decay^t),

so that the start at zero leaves no trace; the term appears once ``start`` updates, at least one, have been taken in. The
authors' code also counts the present update's mean. ``one_sided``: only real scores above a_F and fake ones below a_R cost, as
in that code; the paper's formula has squares on both sides. Each discriminator has running means of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ganrun.ground.duel import Duel
from ganrun.ground.registry import register
from ganrun.ground.turn import Turn
from ganrun.regularizers.base import Players, Regularizer, check_weight


@register("regularizer", "lecam")
class LeCam(Regularizer):
    """Hold the scores of each side near the running mean of the other's."""

    def __init__(self, *, weight: float = 0.3, decay: float = 0.99, start: int = 1, one_sided: bool = False) -> None:
        super().__init__()
        check_weight(weight, 1)
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} must be in [0, 1): it is what a running mean keeps of itself in an update")
        if start < 1:
            raise ValueError(f"start={start} must be at least 1: before the first update there is no mean to be near to")
        self.weight, self.decay, self.start, self.one_sided = weight, decay, start, one_sided
        self._owners: dict[str, nn.Module] = {}  # the discriminators by role: copied with the game, where the game is
        self._seen: dict[str, dict[int, Tensor]] = {}  # mean scores of the present update, by role and micro-batch

    def prepare(self, players: Players) -> None:
        for role, player in players.items():
            self._owners[role] = player
            self.register_buffer(f"{role}_means", torch.zeros(2))  # of real scores and of fake ones, before the correction
            self.register_buffer(f"{role}_count", torch.zeros((), dtype=torch.int64))

    def readings(self) -> Mapping[str, Tensor]:
        found: dict[str, Tensor] = {}
        for role in self._owners:
            real, fake = self.anchors(role)
            found |= {f"{role}_real": real, f"{role}_fake": fake}
        return found

    def anchors(self, role: str) -> tuple[Tensor, Tensor]:
        """(a_R, a_F) of the discriminator ``role``; zero before its first update."""
        means, count = self.get_buffer(f"{role}_means"), self.get_buffer(f"{role}_count")
        found = means / (1 - self.decay ** count.clamp_min(1).to(means.dtype))
        return found[0], found[1]

    def term(self, duel: Duel, players: Players, turn: Turn) -> Tensor | None:
        role = next(name for name, player in self._owners.items() if player is duel.discriminator)
        real, fake = duel.real_output.score, duel.fake_output.score
        # what an update that was only imagined leaves here, the next real one replaces
        self._seen.setdefault(role, {})[turn.micro_batch[0]] = torch.stack((real.detach().mean(), fake.detach().mean()))
        of_real, of_fake = self.anchors(role)
        above, below = real - of_fake, of_real - fake
        if self.one_sided:
            above, below = relu(above), relu(below)
        begun = self.get_buffer(f"{role}_count") >= self.start
        return (above.square().mean() + below.square().mean()) * begun

    @torch.no_grad()
    def after_step(self, players: Players, duel: Duel, turn: Turn) -> None:
        """Take in the mean scores of the update, over all its micro-batches."""
        for role in players:
            seen = self._seen.pop(role, {}) if role in self._owners else {}
            if seen:
                means, count = self.get_buffer(f"{role}_means"), self.get_buffer(f"{role}_count")
                means.lerp_(torch.stack(list(seen.values())).mean(0).to(means.dtype), 1 - self.decay)
                count += 1
