"""Several pretrained networks made one: mixtures whose shares are learned, and merges that are worked out."""
