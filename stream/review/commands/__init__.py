"""Sub-commands that look back on a finished run: review and marks."""
