"""What games with an encoder share: a player that maps samples back to codes, and what is lost on the way there and back."""

from __future__ import annotations

from torch import Tensor

from ganrun.games.base import Game, Ports


class Encoding(Game):
    """An adversarial game with a further player ``code_role`` from samples to latents."""

    code_role = "encoder"

    def roles(self) -> dict[str, tuple[Ports, Ports]]:
        found = super().roles()
        code, data = found["generator"]
        return {**found, self.code_role: (data, code)}

    def encode(self, x: Tensor) -> Tensor:
        """The code of each sample, in the sample's precision: (n, latent size)."""
        code: Tensor = self.players[self.code_role](x)
        return code.to(x.dtype)


def squared_error(found: Tensor, x: Tensor) -> Tensor:
    """(found - x)^2 summed over a sample's numbers: shape (n,), in full precision."""
    return (found.float() - x.float() if x.element_size() < 4 else found - x).square().flatten(1).sum(1)
