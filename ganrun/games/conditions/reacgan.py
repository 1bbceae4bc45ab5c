"""An auxiliary classifier whose cross-entropy is between samples: ReACGAN.  Kang et al. 2021, "Rebooting ACGAN".

D maps its features to a vector f of 512 numbers and has a proxy v_y for each class, all of length one. Over a batch,

    C = -mean_i log [e_i / (e_i + sum_j exp([f_i' f_j - m_n]_+ / tau))],        e_i = exp([f_i' v_{y_i} - m_p]_- / tau),

j running over the samples of other classes (the data-to-data cross-entropy), with [t]_- = min(t, 0), [t]_+ = max(t, 0). What is
within its margin pulls no more, and no length of features or weights can make gradients explode, as they do early in an AC-GAN.

D: L_S + weight * C(real);  G: L_S + weight * C(G(z, y)), with L_S any loss. By default as in the paper for CIFAR-10: tau
(``temperature``) = 0.5, m_p (``margin``) = 0.98, m_n = 1 - m_p and weight = 0.5; D's C is on real samples alone, as there. G's
normalizations are conditional. With micro-batches the other samples are those of each. The head ``classes`` holds f' v_k / tau
for every class k.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ganrun.games.conditions.base import LABELLED, Ports, Terms
from ganrun.games.conditions.projection import Projection
from ganrun.games.heads import NOT_PACKED
from ganrun.ground.duel import Duel
from ganrun.ground.matrices import Embedding
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput, Spec
from ganrun.ground.traits import FEATURES_NEEDED
from ganrun.ground.turn import Turn
from ganrun.losses.base import Loss
from ganrun.networks.base import Family

WIDTH = 512  # of the vectors that are compared
TEMPERATURE, NEAR, WEIGHT = 0.5, 0.98, 0.5


class Compared(nn.Module):
    """A discriminator with the heads ``embedding``, unit vectors, and ``classes``; it ignores the label that it is shown."""

    def __init__(self, network: nn.Module, classes: int, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature
        self.num_features: int = getattr(network, "num_features", 0)
        self.embed = nn.Linear(self.num_features, WIDTH)
        self.proxies = Embedding(classes, WIDTH, bias=False)

    def forward(self, *inputs: Tensor, **condition: Any) -> DiscriminatorOutput:
        output: DiscriminatorOutput = self.network(*inputs)
        assert output.features is not None
        embedding = normalize(self.embed(output.features), dim=1)
        output.heads["embedding"] = embedding
        output.heads["classes"] = embedding @ normalize(self.proxies.weight, dim=0) / self.temperature
        return output


def data_to_data(
    embedding: Tensor, cosines: Tensor, labels: Tensor, temperature: float = TEMPERATURE, near: float = NEAR
) -> Tensor:
    """C of unit vectors ``embedding`` (n, width), their ``cosines`` with the proxies (n, classes) and ``labels`` (n,)."""
    own = (cosines.gather(1, labels[:, None]).squeeze(1) - near).clamp_max(0) / temperature
    others = (embedding @ embedding.T - (1 - near)).clamp_min(0) / temperature
    others = others.masked_fill(labels[:, None] == labels, -torch.inf)
    return (torch.cat((own[:, None], others), 1).logsumexp(1) - own).mean()


@register("condition", "reacgan")
class RebootedClassifier(Projection):
    """Samples near the proxy of their class and away from those of other classes, beside the score."""

    judges_labels = False
    traits = frozenset({"discriminator.classes"})
    needs = LABELLED | FEATURES_NEEDED
    refuses = {"game.packed": NOT_PACKED}

    def __init__(self, *, weight: float = WEIGHT, temperature: float = TEMPERATURE, margin: float = NEAR) -> None:
        if weight < 0:
            raise ValueError(f"weight={weight} must not be negative: it would reward wrong classes")
        if not temperature > 0:
            raise ValueError(f"temperature={temperature} must be positive")
        if not 0 <= margin <= 1:
            raise ValueError(f"margin={margin} must be in [0, 1]: it is the cosine with its class from which a sample is near")
        self.weight, self.temperature, self.margin = weight, temperature, margin

    def discriminator(self, family: Family, role: str, spec: Spec, inputs: Ports, outputs: Ports, pack: int) -> nn.Module:
        return Compared(family.make(role, inputs=inputs, outputs=outputs), int(spec.classes or 0), self.temperature)

    def objective(self, loss: Loss, duel: Duel, turn: Turn, side: str) -> Terms:
        terms = super().objective(loss, duel, turn, side)
        real = side == "discriminator"
        output, labels = (duel.real_output, duel.real_condition) if real else (duel.fake_output, duel.fake_condition)
        assert labels is not None
        embedding, classes = (
            output.heads[name].float() if output.heads[name].element_size() < 4 else output.heads[name]
            for name in ("embedding", "classes")
        )
        value = data_to_data(embedding, classes * self.temperature, labels, self.temperature, self.margin)
        return {**terms, "classes": self.weight * value}
