"""One step of ganrun's loop and of the textbook's, from equal weights on equal batches, compared number by number."""

from __future__ import annotations

from dataclasses import replace

import textbook
import torch
from cases import ROWS, Case
from torch import Tensor, nn

from ganrun.engine.loop import Trainer
from ganrun.ground import rng
from ganrun.ground.spec import Batch


def agreement(case: Case, dtype: torch.dtype) -> dict[str, float]:
    """One step of both sides from equal weights on equal batches: the largest relative differences.

    Losses: |a - b| / |b|. Gradients and updates: the norm of the difference over the norm, the worse of both players.
    """
    small = replace(case, batch_size=min(case.batch_size, 16))
    held = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        lean, plain = small.ganrun(), small.textbook()
        stop_iterations(lean, plain)
        for role in ("generator", "discriminator"):
            copy_weights(lean.game.players[role], getattr(plain, role))
        before = {role: weights(lean.game.players[role]) for role in lean.game.players}
        stream = lean.streams["data"]
        lean.streams = {"data": replace(stream, read=lambda rows: in_dtype(stream.read(rows), dtype))}
        lean.advance()
        rows = rng.order(lean.seed, "data", 0, small.batch_size, ROWS)
        z = [
            lean.game.latent_law.draw(small.batch_size, rng.generator(lean.seed, 0, phase, 0, "latent"))
            for phase in ("discriminator", "generator")
        ]
        real = plain.take(rows)
        if not torch.allclose(real, stream.read(rows).x, atol=1e-6):
            raise ValueError("the two sides convert the data differently")
        losses = plain.compute_terms(stream.read(rows).x.to(dtype).contiguous(), *z)
    finally:
        torch.set_default_dtype(held)
    found = {"loss": 0.0, "gradient": 0.0, "update": 0.0}
    for role, loss, optimizer in zip(("discriminator", "generator"), losses, (plain.adam_d, plain.adam_g), strict=True):
        found["loss"] = max(found["loss"], abs(float(lean.terms[f"{role}/loss"]) / loss - 1))
        # after one step Adam's first moment is the gradient but for a constant
        own, other = (
            torch.cat([entry["exp_avg"].flatten() for entry in moments.state.values()])
            for moments in (lean.optimizers[role], optimizer)
        )
        found["gradient"] = max(found["gradient"], distance(own, other))
        own, other = weights(lean.game.players[role]) - before[role], weights(getattr(plain, role)) - before[role]
        found["update"] = max(found["update"], distance(own, other))
    return found


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def weights(network: nn.Module) -> Tensor:
    return torch.cat([entry.detach().flatten().clone() for entry in network.parameters()])


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """All parameters and buffers, in order: both sides have the same layers in the same order."""
    pairs = zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    with torch.no_grad():
        for own, other in pairs:
            if own.shape != other.shape:
                raise ValueError(f"the textbook's networks differ: {tuple(other.shape)} for {tuple(own.shape)}")
            other.copy_(own)


def stop_iterations(lean: Trainer, plain: textbook.Textbook) -> None:
    """Spectral normalization with the same singular vectors on both sides: each moves them on at moments of its own."""
    if "spectral_norm" in lean.game.regularizers:
        lean.game.regularizers["spectral_norm"].iterations = 0  # type: ignore[assignment]
        plain.discriminator.eval()


def in_dtype(batch: Batch, dtype: torch.dtype) -> Batch:
    return Batch(batch.x.to(dtype), batch.y)
