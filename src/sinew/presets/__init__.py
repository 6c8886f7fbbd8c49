"""Full configurations by name."""
