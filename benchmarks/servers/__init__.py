"""How fast a server answers, asked by its own client."""
