"""Optimizers and learning-rate schedules (groups ``optimizer`` and ``schedule``)."""
