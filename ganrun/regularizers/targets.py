"""What the techniques on a duel's targets share."""

from __future__ import annotations

from ganrun.ground.traits import Rule

TARGETS_READ = {
    "loss.reads_targets": Rule(
        "it changes the targets of real and fake, and this loss reads none", "loss=lsgan (or nonsaturating, minimax)"
    ),
}
