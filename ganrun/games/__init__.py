"""Games: who plays, in which phases, for what (groups ``game`` and ``condition``)."""
