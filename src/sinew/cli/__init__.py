"""The command line: thin; it turns words into a ``RunConfig`` and calls ``sinew.run``."""
