"""Training of the second look at the symphysis, on crops."""
