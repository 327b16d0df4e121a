"""Sub-commands of replaying, attaching, measuring and examining: `partum NAME` is in `NAME_command.py`."""
