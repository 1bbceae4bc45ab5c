"""The vocabulary of a step, which every other room speaks: registry, errors, traits, random numbers, devices, duel, turn, spec.

Nothing here knows a component, a technique, a command or the folder of a run.
"""
