"""Plays matchups."""
