"""The sub-command that makes reports."""
