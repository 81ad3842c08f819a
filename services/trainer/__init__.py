"""Fine-tunes models on datasets and publishes them."""
