"""Train vision-language-action policies and take them from demonstrations to a safe robot."""

__version__ = "0.1.0"
