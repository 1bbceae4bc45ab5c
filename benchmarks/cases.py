"""The cases of the benchmark: what ganrun runs, and the textbook's parts for the same networks and losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import textbook
import torch
from torch import Tensor, nn

from ganrun.cli import signature
from ganrun.cli.compose import composer
from ganrun.data.base import Dataset, Images
from ganrun.data.ring8 import ring8
from ganrun.engine import assemble
from ganrun.engine.loop import Trainer
from ganrun.ground.runtime import resolve

ROWS = 10_000


@dataclass(frozen=True)
class Case:
    """What is run: overrides of ganrun's config, the textbook's parts, steps in a block and seconds to spend."""

    name: str
    overrides: tuple[str, ...]
    networks: Callable[[], tuple[nn.Module, nn.Module]]
    losses: tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]
    batch_size: int
    latent: int
    block: int
    seconds: float
    betas: tuple[float, float] = (0.5, 0.999)

    def config(self, *overrides: str) -> dict[str, Any]:
        common = ["n_critic=1", "ema=0.999", "metric=none", "device=cpu", "optimizer.schedule.name=constant"]
        common += [f"batch_size={self.batch_size}", f"model.latent={self.latent}"]
        with composer() as found:
            return signature.plain(found.compose([*self.overrides, *common, *overrides]))

    def ganrun(self, *overrides: str) -> Trainer:
        config = self.config(*overrides)
        return assemble.trainer(assemble.build(config), self.dataset(), resolve(config["device"]))

    def dataset(self) -> Dataset:
        """As ganrun has it: the rows of a ring, or random images."""
        return ring8(num=ROWS) if "dataset=ring8" in self.overrides else Images(random_pixels())

    def textbook(self) -> textbook.Textbook:
        torch.use_deterministic_algorithms(False)
        data = ring8(num=ROWS).x if "dataset=ring8" in self.overrides else random_pixels()
        return textbook.Textbook(*self.networks(), *self.losses, data, self.batch_size, self.latent, self.betas)


LOGISTIC = (textbook.nonsaturating_d, textbook.nonsaturating_g)
HINGE = (textbook.hinge_d, textbook.hinge_g)
PLAIN = ("loss=nonsaturating", "regularizer=none", "optimizer=adam")
SMALL = tuple(
    f"model.{role}.{entry}" for role in ("generator", "discriminator") for entry in ("width=128", "depth=2", "norm=none")
)
CASES = (
    Case("DCGAN 32x32, batch 64", ("model=dcgan", *PLAIN), textbook.dcgan, LOGISTIC, 64, 100, 3, 60),
    Case("SNGAN 32x32, batch 64", ("model=sngan",), textbook.sngan, HINGE, 64, 128, 1, 120, (0.0, 0.9)),
    Case("MLP, 2-D, batch 512", ("dataset=ring8", *PLAIN, *SMALL), textbook.mlp, LOGISTIC, 512, 256, 25, 40),
)


def random_pixels() -> Tensor:
    return torch.randint(256, (ROWS, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
