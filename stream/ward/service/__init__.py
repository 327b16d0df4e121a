"""The ward as a service of the system: its signals, and what it tells the service manager."""
