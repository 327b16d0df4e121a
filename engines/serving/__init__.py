"""Models made ready for servers."""
