"""What runs in the processes that a ward starts: a feed, or the engine of all."""
