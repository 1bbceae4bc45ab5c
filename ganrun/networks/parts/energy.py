"""The energy of a sample before an autoencoder: the error of its reconstruction (Zhao et al. 2017)."""

from __future__ import annotations

from torch import Tensor

from ganrun.ground.errors import BadInput, suggestion

ERRORS = ("mean", "norm")
ENERGY = frozenset({"energy", "discriminator.features"})


def reconstruction_error(found: Tensor, x: Tensor, error: str) -> Tensor:
    """``mean`` of squares or ``norm`` of ``found - x`` over all but the first dimension: shape (n,)."""
    squares = (found - x).square().flatten(1)
    return squares.mean(1) if error == "mean" else (squares.sum(1) + 1e-12).sqrt()  # a root's slope at zero is infinite


def check_energy(code: int, error: str) -> None:
    """Raise ``BadInput`` for a code of no numbers or an unknown error."""
    if code < 1:
        raise BadInput(f"code={code}: must be at least 1")
    if error not in ERRORS:
        raise BadInput(f"error={error}: there is no such error. {suggestion(error, ERRORS)}")
