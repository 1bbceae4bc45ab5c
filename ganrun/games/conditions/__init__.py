"""Conditions: how a class label enters the players (group ``condition``). Any game can take any of them."""
