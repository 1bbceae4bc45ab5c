"""Families of networks (group ``model``): what makes the players that a game asks for."""
