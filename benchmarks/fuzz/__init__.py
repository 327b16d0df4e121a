"""Mutated files and messages, fed to every reader: no hang, no growth of memory, no error outside the tree."""
