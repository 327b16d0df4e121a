"""A finished run looked at again in a browser: shown, marked, corrected; nothing that was recorded is changed."""
