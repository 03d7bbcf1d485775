"""Feature networks: what the metrics look through. `gan_jax.metrics.features.load_features` loads their weights."""
