"""Sub-commands that measure this machine: `partum NAME` is in `NAME_command.py`."""
