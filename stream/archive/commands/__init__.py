"""The command line of `partum archive`."""
