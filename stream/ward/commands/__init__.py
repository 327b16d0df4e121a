"""The command line of the ward."""
