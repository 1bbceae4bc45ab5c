"""A classifier of K classes that is also the discriminator.  Salimans et al. 2016, "Improved Techniques for Training GANs".

With class logits l_1 .. l_K, the fake class's logit fixed at 0, Z = sum_k exp l_k and D = Z / (Z + 1), the score is
s = log Z, so that any loss fits:

    D: E -log p(y | x) over labelled samples + unsupervised * L_D;     G: L_G.

With the logistic loss and one half, L_D / 2 is [E_p(sp(s) - s) + E_q sp(s)] / 2, as in the authors' code. A constant added to all
logits changes Z, so none of them is superfluous: l_k is the discriminator's own scalar plus a linear map of its features.

``labels`` samples are labelled, as many of each class, or all that it has, the same for every run on a data set; the
cross-entropy is on batches of them alone, the loss on all samples without their labels. The generator knows no label. With
loss=feature_matching it is the paper's semi-supervised method.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ganrun.data.base import Dataset, Subset
from ganrun.games.base import Game, Ports, Terms
from ganrun.games.conditions.per_class import all_labels
from ganrun.games.heads import NO_ENERGY, NOT_PACKED, Headed, beside_score
from ganrun.ground import rng
from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput
from ganrun.ground.traits import FEATURES_NEEDED, Rule
from ganrun.ground.turn import Turn
from ganrun.networks.base import Family

LABELS_NEEDED = Rule("it learns a classifier from labels, and this data set has none", "game=adversarial")
UNTOLD = Rule("its discriminator is asked for the class, so it cannot be told it", "condition=none")


class Classifier(Headed):
    """A discriminator whose score is the log-sum-exp of its class logits."""

    def forward(self, *inputs: Tensor, **condition: Tensor) -> DiscriminatorOutput:
        output = super().forward(*inputs, **condition)
        own, logits = output.score, output.heads["classes"]
        logits = logits.float() if logits.element_size() < 4 else logits
        output.heads["classes"] = logits + own.flatten(1).mean(1, keepdim=True) if own.ndim > 1 else logits + own[:, None]
        output.score = own + beside_score(logits.logsumexp(1), own)
        return output


@register("game", "semi_supervised")
class SemiSupervised(Game):
    """The adversarial game, whose discriminator learns to classify from a few labels."""

    def __init__(
        self,
        *,
        labels: int = 100,
        unsupervised: float = 0.5,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if labels < 1:
            raise ValueError(f"labels={labels} must be at least 1")
        if unsupervised <= 0:
            raise ValueError(f"unsupervised={unsupervised} must be positive: it is all that makes the discriminator one")
        self.num_labels, self.unsupervised = labels, unsupervised

    @property
    def traits(self) -> frozenset[str]:
        return super().traits | {"discriminator.classes"}

    @property
    def needs(self) -> Mapping[str, Rule]:
        return {**super().needs, **FEATURES_NEEDED, "dataset.labelled": LABELS_NEEDED}

    @property
    def refuses(self) -> Mapping[str, Rule]:
        return {**super().refuses, "energy": NO_ENERGY, "game.packed": NOT_PACKED, "condition.labels": UNTOLD}

    def make(self, family: Family, role: str, inputs: Ports, outputs: Ports) -> nn.Module:
        player = super().make(family, role, inputs, outputs)
        return Classifier(player, {"classes": int(self.spec.classes or 0)}) if role == "discriminator" else player

    def streams(self, dataset: Dataset) -> dict[str, Dataset]:
        rows = stratified(all_labels(dataset), int(dataset.spec.classes or 0), self.num_labels)
        return {**super().streams(dataset), "labelled": Subset(dataset, rows)}

    def discriminator_loss(self, turn: Turn) -> Terms:
        terms = super().discriminator_loss(turn)
        known = turn.real(stream="labelled")
        output: DiscriminatorOutput = self.players["discriminator"](known.x)
        assert known.y is not None
        terms["loss"] = self.unsupervised * terms["loss"]
        terms["classes"] = cross_entropy(output.heads["classes"], known.y)
        return terms


def stratified(labels: Tensor, classes: int, count: int) -> Tensor:
    """The places of ``count`` samples, as many of each class as of any other, one more of the first; all of a class with fewer.

    A function of the labels alone. Raises ``BadInput`` for fewer than one a class, and for a class without samples.
    """
    if count < classes:
        raise BadInput(f"game.labels={count}: must be at least one for each of the {classes} classes. Try game.labels={classes}")
    source, chosen = rng.generator("labelled samples", len(labels)), []
    for label in range(classes):
        rows = torch.nonzero(labels == label).flatten()
        wanted = count // classes + (label < count % classes)
        if not len(rows):
            raise BadInput(f"game=semi_supervised: class {label} of the data set has no sample to learn it from")
        chosen.append(rows[torch.randperm(len(rows), generator=source)[:wanted]])
    return torch.cat(chosen)
