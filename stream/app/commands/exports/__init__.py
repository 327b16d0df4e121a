"""Commands that give a finished run to others, or verify it."""
