"""A generator as one plain module, and what a stranger must know to use it: what goes in, what comes out.

The module takes its inputs by position, in the order of ``inputs``: the image to translate, the latent, labels, and whole
numbers that a sample draws beside these. Weights that are computed from others are computed once; networks that are chosen row by
row all see every row, as exporters write down one fixed list of operations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganrun.disk.run_folder import RunFolder
from ganrun.engine import assemble, sampling
from ganrun.engine.sampling import Trained
from ganrun.ground.spec import Latent

BATCH = "n"  # the first number of a shape: any number of samples
MEANING = {
    "image": "pixels in [-1, 1]: a byte is (x + 1) * 127.5, rounded, cut to 0 .. 255",
    "points": "coordinates as they are",
    "tokens": "at each position one number a symbol of the alphabet; they sum to 1",
}


@dataclass(frozen=True)
class Input:
    """One input of an exported generator: shape (n, *shape); float32, or int64 where it has ``values``.

    ``law``: of a latent, its pieces one after the other, {"law": "normal" | "uniform" | "one_hot", "numbers": how many}.
    ``values``: an entry is one of 0 .. values - 1, called by its ``names``. ``kind``: of what is to be translated, what the data
    are. ``keyword``: how the network itself takes it, if not by its place.
    """

    name: str
    shape: tuple[int, ...] = ()
    law: tuple[dict[str, Any], ...] = ()
    values: int | None = None
    names: tuple[str, ...] = ()
    kind: str | None = None
    keyword: str | None = None

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.name, "shape": [BATCH, *self.shape]}
        found["dtype"] = "float32" if self.values is None else "int64"
        if self.law:
            found["law"] = list(self.law)
        if self.values is not None:
            found["values"] = self.values
        if self.names:
            found["names"] = list(self.names)
        if self.kind is not None:
            found["meaning"] = MEANING[self.kind]
        return found

    def drawn(self, count: int, source: torch.Generator) -> Tensor:
        """``count`` inputs to try a generator with; of whole numbers each in turn."""
        if self.values is not None:
            return torch.arange(count) % self.values
        return torch.randn(count, *self.shape, generator=source).clamp(-1, 1)


@dataclass
class Portable:
    """``network`` with its ``inputs``; ``about`` is what is written beside it; ``noisy``: it draws random numbers of its own."""

    network: nn.Module
    inputs: tuple[Input, ...]
    about: dict[str, Any] = field(default_factory=dict)
    noisy: bool = False

    def tried(self, count: int) -> tuple[Tensor, ...]:
        """``count`` samples' inputs, the same at every call."""
        source = torch.Generator().manual_seed(count)
        return tuple(entry.drawn(count, source) for entry in self.inputs)


class ByPosition(nn.Module):
    """A generator whose keywords, ``names``, come in as its last inputs."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        first = len(inputs) - len(self.names)
        made: Tensor = self.network(*inputs[:first], **dict(zip(self.names, inputs[first:], strict=True)))
        return made


def performer(trained: Trained, role: str) -> nn.Module:
    """The player ``role`` as it makes samples: its average, if there is one; with standing statistics where they are set."""
    batches = int(trained.config["evaluation"].get("standing", 0))
    with trained.runtime.applied(), assemble.performing(trained.game, trained.averages):
        if batches:
            labels = torch.arange(int(trained.spec.classes or 1)) if trained.game.condition.uses_labels else None
            starts = trained.starts(sampling.BLOCK)
            sources = None if starts is None else starts.source
            sampling.let_stand(trained.game, batches, seed=0, runtime=trained.runtime, labels=labels, sources=sources)
        return trained.game.players[role]


def portable(trained: Trained, network: nn.Module, role: str, about: dict[str, Any]) -> Portable:
    """``network``, the generator ``role`` of a run, as a module of its own on the CPU, in evaluation mode."""
    inputs = inputs_of(trained, role)
    keywords = [entry.keyword for entry in inputs if entry.keyword is not None]
    whole = ByPosition(traceable(copy.deepcopy(network)), keywords).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    made = Portable(whole.eval().requires_grad_(False), inputs)
    made.noisy = not torch.equal(*(_seeded(made, seed) for seed in (0, 1)))
    spec = trained.spec
    output: dict[str, Any] = {"kind": spec.kind, "shape": [BATCH, *_made(trained, role)], "dtype": "float32"}
    output |= {"meaning": MEANING[spec.kind], **({"range": [-1, 1]} if spec.kind == "image" else {})}
    output |= {} if spec.alphabet is None else {"alphabet": spec.alphabet}
    made.about = {**about, "inputs": [entry.described() for entry in inputs], "output": output}
    if made.noisy:
        made.about["noise"] = "draws further random numbers from torch's default generator: torch.manual_seed(0) repeats them"
    return made


def inputs_of(trained: Trained, role: str) -> tuple[Input, ...]:
    """What the generator ``role`` takes; those with keywords come last."""
    game, spec = trained.game, trained.spec
    found = [
        Input("z", law=law_of(game.latent_law), shape=port.shape)
        if port.kind == "code"
        else Input("source", port.shape, kind=spec.kind)
        for port in game.roles()[role][0]
    ]
    if game.condition.uses_labels:
        names = RunFolder(trained.folder).facts().get("data", {}).get("class_names") or ()
        found.append(Input("labels", values=int(spec.classes or 1), names=tuple(names), keyword="condition"))
    found += [Input(name, values=values, keyword=name) for name, values in game.drawn.items()]
    return tuple(found)


def law_of(law: Latent) -> tuple[dict[str, Any], ...]:
    """The pieces of a latent, one after the other."""
    codes = [{"law": "uniform" if size == 1 else "one_hot", "numbers": size} for size in law.codes]
    return ({"law": law.noise_law, "numbers": law.noise_size}, *codes)


def traceable(network: nn.Module) -> nn.Module:
    """``network``, changed in place where its operations depend on its inputs or its weights on other weights."""
    network.eval()
    for module in network.modules():
        if parametrize.is_parametrized(module):
            _settle(module)
    for parent in reversed(list(network.modules())):  # from within
        for name, child in list(parent.named_children()):
            setattr(parent, name, _simple(child))
    return _simple(network)


def _settle(module: nn.Module) -> None:
    """Make what ``module`` computes its weights from plain weights. Not by torch's own way, which changes the module's class, and
    a copy shares that with its original."""
    values = {name: getattr(module, name).detach() for name in module.parametrizations}  # type: ignore[union-attr]
    module.__class__ = type(module).__mro__[1]
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))


def _simple(module: nn.Module) -> nn.Module:
    """``module``, or what it gives exporters in its place."""
    make: Callable[[], nn.Module] | None = getattr(module, "traceable", None)
    return module if make is None else make()


def _made(trained: Trained, role: str) -> tuple[int, ...]:
    return trained.game.roles()[role][1][0].shape


def _seeded(made: Portable, seed: int) -> Tensor:
    """What it makes of the same inputs, torch's default generator starting from ``seed``."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        found: Tensor = made.network(*made.tried(4))
        return found
