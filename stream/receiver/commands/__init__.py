"""The command line of `partum receive`."""
