"""What `partum receive` costs: from the last byte of an object to its row, objects and bytes per second, memory."""
