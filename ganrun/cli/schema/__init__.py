"""What can be typed, what it means, and whether what was typed is right: one room, which imports no torch.

``grammar``: the values that a key takes, as the comment behind it in the yaml file says.
``catalog``: the options and their keys, read from the yaml files alone.
``compare``: a value against its key.
``keys``: a key with its default, what it takes and what it means; ``comments``: the comments that say so.
``layers``: which file wrote what into a composed config.
``check``: a command line, all its mistakes at once; ``line``: the line, sorted; ``value``: one typed value.

``grammar``, ``catalog`` and ``compare`` import no Hydra either, so that listing and TAB completion answer at once.
"""
