"""What every other room stands on: registry, errors, random numbers, devices, run records, the words of the game.

Nothing here knows a component, a technique or a command.
"""
