"""The command line of `partum batch`."""
