"""Experiments that decided how the shipped model is trained; each a command that makes its own table."""
