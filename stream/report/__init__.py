"""Reports of finished runs, to be read on paper: what was measured, how surely, and why the rest was refused."""
