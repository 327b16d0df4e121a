"""Stand-ins for what a test cannot have: GPUs, servers, browsers, small networks; no tests."""
