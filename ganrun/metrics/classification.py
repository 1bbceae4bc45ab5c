"""The discriminator as the classifier that it was trained to be (Springenberg 2016; Salimans et al. 2016; Odena et al. 2017).

    classification_error = share of real held-out samples that D's class head does not name rightly;
    classification_cross_entropy = mean -log softmax(head)_y over them, in nats.

Of game=semi_supervised, condition=acgan and condition=reacgan. No sample of the generator is looked at. The networks are those of
the run as they stand, in evaluation mode: their running average is kept for the generator alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from ganrun.ground.errors import BadInput
from ganrun.ground.registry import register
from ganrun.ground.traits import Rule
from ganrun.metrics.base import Data, Sample, Sandbox, Score, Stage
from ganrun.metrics.two_samples import standard_error


@register("metric", "classification")
class Classification(Score):
    """How often the discriminator's class head is wrong on real samples that were held out."""

    directions: Mapping[str, bool | None] = {"classification_error": False, "classification_cross_entropy": False}
    extracts = frozenset({"networks", "x", "labels"})
    needs: ClassVar[Mapping[str, Rule]] = {
        "dataset.labelled": Rule("it compares classes, and this data has none", "dataset=digits"),
        "discriminator.classes": Rule("it reads the discriminator's class head, and this run's has none", "condition=acgan"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.stage: Stage | None = None

    def fewest(self) -> tuple[int, int]:
        return 0, 0

    def dry_run(self, sandbox: Sandbox) -> None:
        if not sandbox.heads:
            raise BadInput("no discriminator of this game names the class of a sample alone. Try game=adversarial")

    def lacks(self, dataset: Data, classes: int | None) -> str:
        return "" if dataset.held_out() else "classification reads held-out samples, and nothing is held out"

    def enter(self, stage: Stage) -> None:
        self.stage = stage

    def update(self, sample: Sample, *, real: bool) -> None:
        """Samples are not looked at: the held-out ones come from the stage."""

    def compute(self) -> dict[str, float]:
        """``classification_error``, ``classification_cross_entropy``."""
        assert self.stage is not None
        stage, self.stage = self.stage, None
        held = stage.split("held_out")
        assert held is not None
        assert held.x is not None
        assert held.labels is not None
        assert stage.sandbox is not None
        found: dict[str, Tensor] = {}
        logits = stage.sandbox.class_logits(held.x)
        found["classification_error"] = (logits.argmax(1) != held.labels).double()
        found["classification_cross_entropy"] = cross_entropy(logits, held.labels, reduction="none")
        self.spreads = {name: standard_error(values) for name, values in found.items()}
        return {name: values.mean().item() for name, values in found.items()}

    def card(self) -> dict[str, Any]:
        return {"tested on": "held_out", "std": "over samples, divided by the root of their number"}
