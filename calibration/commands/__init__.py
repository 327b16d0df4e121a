"""Sub-commands of training, evaluating and building: `partum NAME` is in `NAME_command.py`."""
