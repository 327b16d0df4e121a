"""What every room of the stream uses: errors, clock, channels, whole files, printable text; nothing of images."""
