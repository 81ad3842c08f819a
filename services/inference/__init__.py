"""Serves published models over the HTTP API of Text Generation Inference."""
