"""Which engine runs: back-ends tried in turn, and the next one where one fails."""
