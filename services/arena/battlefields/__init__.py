"""Where battles are fought."""
