"""Differentiable augmentations as functions of samples and uniform numbers, and their application to a duel's inputs.

Of images (n, channels, height, width) in [-1, 1], the ranges of Zhao et al. 2020 ("Differentiable Augmentation ..."):

===========  =============================================================================================
flip         mirrored left to right for half of the samples; warned of where mirror images are no samples
color        brightness + U(-1/2, 1/2); saturation * U(0, 2); contrast * U(1/2, 3/2); not clamped
translation  moved by up to 1/8 of each side, zeros (mid-grey) coming in
cutout       a window of half of each side set to zero; its centre anywhere, so that it may hang over the border
===========  =============================================================================================

Channels in threes are RGB pictures; in any other number each is a grey picture, which has no saturation. Of points
(n, dimensions), ``translation`` adds U(-1/8, 1/8) to each coordinate, in the data's own units; flips, colors and windows
mean nothing there and leave points alone. Codes are never touched. The inputs of one sample (an image and the one that it
was made from) get the same numbers, so that a pair stays a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ganrun.ground.duel import Inputs
from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spec import Port
from ganrun.ground.spell import names, pasted
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Turn

TRANSLATION = 1 / 8
CUTOUT = 1 / 2

NO_TOKENS = {
    "dataset.tokens": Rule("samples cannot be moved or recoloured where they are rows of tokens", "regularizer=instance_noise")
}


def mirroring(policy: Sequence[str], name: str, instead: Sequence[str]) -> dict[str, Rule]:
    """What the regularizer ``name`` advises: with a ``policy`` that mirrors, data whose mirror images are samples too."""
    if "flip" not in policy:
        return {}
    why = "its policy mirrors samples, and mirror images of this data are none: a 3 turned round is no digit"
    left = [entry for entry in policy if entry != "flip"] or list(instead)
    return {"dataset.achiral": Rule(why, f"regularizer.{name}.policy=[{','.join(left)}]")}


def flip(x: Tensor, u: Tensor) -> Tensor:
    """Left to right where u < 1/2. ``u``, here and below: U(0, 1) of shape (n,)."""
    return torch.where(_beside(u, x) < 0.5, x.flip(-1), x)


def brightness(x: Tensor, u: Tensor) -> Tensor:
    """x + (u - 1/2)."""
    return x + (_beside(u, x) - 0.5)


def saturation(x: Tensor, u: Tensor) -> Tensor:
    """m + 2 u (x - m), m the mean over the colors at each place; grey pictures stay."""
    if x.shape[1] % 3:
        return x
    pictures = _pictures(x)
    mean = pictures.mean(2, keepdim=True)
    return (mean + 2 * _beside(u, pictures) * (pictures - mean)).flatten(1, 2)


def contrast(x: Tensor, u: Tensor) -> Tensor:
    """m + (u + 1/2) (x - m), m the mean over the whole picture."""
    pictures = _pictures(x)
    mean = pictures.mean((2, 3, 4), keepdim=True)
    return (mean + (_beside(u, pictures) + 0.5) * (pictures - mean)).flatten(1, 2)


def translation(x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Moved down by a whole number of pixels that u picks from -height / 8 .. height / 8, and to the right by v likewise."""
    height, width = x.shape[2:]
    rows, columns = (_moved(size, draw) for size, draw in ((height, u), (width, v)))
    samples, channels = (torch.arange(count, device=x.device) for count in x.shape[:2])
    return pad(x, (1, 1, 1, 1))[
        samples[:, None, None, None], channels[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]


def cutout(x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Zero in a window of half of each side around a centre that u (down) and v (to the right) pick."""
    height, width = x.shape[2:]
    rows, columns = (_window(size, draw) for size, draw in ((height, u), (width, v)))
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def jitter(x: Tensor, u: Tensor) -> Tensor:
    """x + (2 u - 1) / 8 for points; ``u`` has their shape."""
    return x + (2 * u - 1) * TRANSLATION


IMAGES: dict[str, dict[str, tuple[Callable[..., Tensor], int]]] = {
    "flip": {"flip": (flip, 1)},
    "color": {"brightness": (brightness, 1), "saturation": (saturation, 1), "contrast": (contrast, 1)},
    "translation": {"translation": (translation, 2)},
    "cutout": {"cutout": (cutout, 2)},
}
"""Of each entry of a policy: its operations by name, each with the number of uniforms a sample that it takes."""

POINTS = ("translation",)


def check_policy(policy: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The policy as a tuple; ``BadInput`` for an unknown entry, one that stands twice, or none."""
    for name in policy:
        if name not in IMAGES:
            raise BadInput(f"policy={list(policy)}: there is no augmentation {name!r}. {suggestion(name, IMAGES)}")
        if list(policy).count(name) > 1:
            raise BadInput(f"policy={list(policy)}: {name!r} stands twice")
    if not policy:
        raise BadInput(f"policy=[]: name at least one of {', '.join(IMAGES)}")
    return tuple(policy)


def check_fits(name: str, policy: tuple[str, ...], ports: tuple[Port, ...]) -> None:
    """Raise ``BadInput`` if no entry of the regularizer ``name``'s ``policy`` does anything to any input."""
    data = [port for port in ports if port.kind == "data"]
    if not any(port.is_image or (len(port.shape) == 1 and name in POINTS) for port in data for name in policy):
        key = f"regularizer.{name}.policy"
        raise BadInput(f"{key}={names(policy)}: leaves this data as it is. Try {pasted(f'{key}={names(POINTS)}')}")


def augment(
    inputs: Inputs, kinds: tuple[str, ...], policy: tuple[str, ...], turn: Turn, purpose: str, chance: Tensor | None = None
) -> Inputs:
    """``inputs`` of a duel, single samples, after each operation of ``policy`` in turn; differentiable.

    ``purpose`` tells these draws from others of the turn. With ``chance``, a scalar, each operation acts on each sample with
    that probability, independently.
    """
    found = list(inputs)
    places = [place for place, kind in enumerate(kinds) if kind == "data"]
    for entry in policy:
        for name, (operation, count) in IMAGES[entry].items():
            for place in places:
                x, key = found[place], f"{purpose}/{name}"
                if x.ndim == 4:
                    changed = operation(x, *(turn.uniform(f"{key}/{axis}", like=x) for axis in range(count)))
                elif x.ndim == 2 and entry in POINTS:
                    changed = jitter(x, turn.noise(f"{key}/points", x, "uniform"))
                else:
                    continue
                if chance is not None:
                    changed = torch.where(_beside(turn.uniform(f"{key}/chance", like=x) < chance, x), changed, x)
                found[place] = changed
    return tuple(found)


def _moved(size: int, u: Tensor) -> Tensor:
    """Where, in a line of ``size`` numbers with a zero before and after it, each place takes its number from: (n, size)."""
    most = int(size * TRANSLATION + 0.5)
    shift = _pick(u, 2 * most + 1) - most
    return (torch.arange(1, size + 1, device=u.device) - shift[:, None]).clamp(0, size + 1)


def _window(size: int, u: Tensor) -> Tensor:
    """Which places of a line of ``size`` lie in a window of half of it: bool of shape (n, size)."""
    length = int(size * CUTOUT + 0.5)
    first = _pick(u, size + 1 - length % 2)[:, None] - length // 2
    places = torch.arange(size, device=u.device)
    return (places >= first) & (places < first + length)


def _pick(u: Tensor, count: int) -> Tensor:
    """One of 0 .. count - 1, all equally likely."""
    return (u * count).long()


def _pictures(x: Tensor) -> Tensor:
    """(n, channels, ...) as (n, pictures, colors, ...)."""
    return x.unflatten(1, (-1, 1 if x.shape[1] % 3 else 3))


def _beside(u: Tensor, x: Tensor) -> Tensor:
    """``u`` of shape (n,) as (n, 1, ...), numbers in the precision of ``x``."""
    return (u.to(x.dtype) if u.is_floating_point() else u).view(-1, *[1] * (x.ndim - 1))
