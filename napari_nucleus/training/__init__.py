"""Recipes that make the bundled weights, and the protocols that score them."""
