"""Statistics of errors: agreement, ranks, confidence intervals; knows no frames and no files."""
