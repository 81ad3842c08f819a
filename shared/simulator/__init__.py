"""The official simulator as a child process."""
