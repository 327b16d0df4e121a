"""What every implementation keeps, run over all of them, and what documents and packages promise."""
