"""What a ward keeps of its feeds on the disk, for how long, and what becomes of it after a kill."""
