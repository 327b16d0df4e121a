"""The threads that take each frame from source to record, and what is counted on the way; writes no files."""
