"""The queue: payloads, routes and workers."""
