"""Collects replays and turns battles into datasets."""
