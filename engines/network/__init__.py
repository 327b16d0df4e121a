"""Networks made of parts that a configuration names."""
