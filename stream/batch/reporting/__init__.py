"""What a batch tells: progress on the terminal, the table and the page of all recordings."""
