"""Everything that is fitted to data before a stream starts."""
