"""What is measured at a look at a run, one file a quantity. No sign knows a game, a loss or a file."""
