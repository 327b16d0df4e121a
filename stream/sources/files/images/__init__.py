"""Image files and folders of them as a source of frames."""
