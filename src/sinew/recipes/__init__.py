"""Training algorithms, one page each."""
