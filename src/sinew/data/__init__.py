"""Episodes: recording, storing, windowing and augmenting them."""
