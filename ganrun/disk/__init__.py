"""The run on disk: its folder and lock, whole-or-absent files, checkpoints, identity, signals, and what of other folders is read.

Stands above ``ground`` and below every component. Losses, regularizers, networks and optimizers never import it.
"""
