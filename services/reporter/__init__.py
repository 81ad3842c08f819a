"""Writes runs and reports."""
