"""MetaImage and NRRD stacks as a source of frames."""
