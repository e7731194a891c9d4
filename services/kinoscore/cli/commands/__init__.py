"""One module a command; each defines it as `command`."""
