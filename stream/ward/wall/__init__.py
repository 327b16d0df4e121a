"""What a ward shows: a page of all feeds, each feed's own page behind it, tokens by role, and metrics of all."""
