"""What one seat knows of a battle, followed line by line through its log."""
