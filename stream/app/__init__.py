"""The application on top of the library: command line, options, sessions, terminal. Nothing below imports it."""
