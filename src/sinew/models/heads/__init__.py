"""Action heads: features in, action chunks out."""
