"""Several live feeds on one server: a process for each, one engine for all, and what keeps them running."""
