"""A labour looked back on: finished runs read again, and what their course says."""
