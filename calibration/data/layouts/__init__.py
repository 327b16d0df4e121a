"""How each public data set lies on disk, one module for each, and what they share in reading it."""
