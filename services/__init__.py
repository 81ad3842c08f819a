"""Independent services; none imports another."""
