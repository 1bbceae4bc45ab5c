"""Parts of networks that several families offer as options: one file an idea."""
