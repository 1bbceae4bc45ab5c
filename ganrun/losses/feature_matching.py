"""D: -E_p log D - E_q log(1 - D);  G: ||E_p f(x) - E_q f(G(z))||^2, f the discriminator's features.  Salimans et al. 2016.

"Improved Techniques for Training GANs", section 3.1. First the mean over each batch, then the difference, then the distance:
the order of samples does not matter, and batches of equal means cost nothing. f(x) is a constant; f(G(z)) is not.
``distance``: "squared", the paper's ||.||_2^2, or "absolute", ||.||_1. Both are sums over the features, as the paper
writes it; the authors' code takes means over them (squared for MNIST, absolute for CIFAR-10).
"""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.registry import register
from ganrun.ground.spec import DiscriminatorOutput
from ganrun.ground.traits import FEATURES_NEEDED
from ganrun.losses.base import NO_ENERGY, Loss, logistic

DISTANCES = ("squared", "absolute")


@register("loss", "feature_matching")
class FeatureMatching(Loss):
    """The generator matches the mean of the discriminator's features; the discriminator's loss is the logistic one."""

    reads = frozenset({"features", "targets"})
    needs = FEATURES_NEEDED
    refuses = NO_ENERGY

    def __init__(self, *, distance: str = "squared") -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise BadInput(f"loss.distance={distance}: {suggestion(distance, DISTANCES)}")
        self.distance = distance

    def d(self, duel: Duel) -> Tensor:
        return logistic(duel)

    def g(self, duel: Duel) -> Tensor:
        difference = _mean_features(duel.real_output).detach() - _mean_features(duel.fake_output)
        size = difference.square() if self.distance == "squared" else difference.abs()
        return duel.fake_weight * size.sum()


def _mean_features(output: DiscriminatorOutput) -> Tensor:
    """The batch's mean of the features, in full precision: shape (features,)."""
    assert output.features is not None
    features = output.features.flatten(1)
    return (features if features.element_size() >= 4 else features.float()).mean(0)
