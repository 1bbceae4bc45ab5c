"""Trackers: where the rows, pictures and config of a run go besides its folder. Each works in a process of its own."""
