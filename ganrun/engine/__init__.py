"""The engine: assembles a run, trains it, saves it, scores it and samples it."""
