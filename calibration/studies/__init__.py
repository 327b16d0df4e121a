"""Experiments that decided how the shipped model and clip are made, each a command; not in the wheel."""
