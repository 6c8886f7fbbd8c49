"""The signs of faults, by what they are read from."""
