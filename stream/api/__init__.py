"""What scripts and notebooks call: a recording or a picture through the pipeline; no files, no terminal."""
