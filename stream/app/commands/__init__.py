"""Sub-commands of replaying, watching, measuring and examining: `partum NAME` is in `NAME_command.py`."""
