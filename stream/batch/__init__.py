"""Many recordings: found, measured once each by processes side by side, told in one table and one page."""
