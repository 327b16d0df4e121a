"""OpenIGTLink: the protocol's messages, one connection, and the feed of its images."""
