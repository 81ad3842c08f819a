"""Puts the services together."""
