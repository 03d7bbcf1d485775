"""Fusion of several pretrained networks into one: mixtures with learned mixing weights, and merges in closed form."""
