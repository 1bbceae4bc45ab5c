"""What can be wrong with a run, one file a disease: pure functions of the rows of signs.jsonl. Nothing here imports torch."""
