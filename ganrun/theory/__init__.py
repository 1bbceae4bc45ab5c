"""Claims of the theory of adversarial training, each computed with the losses and regularizers that ganrun trains with."""
