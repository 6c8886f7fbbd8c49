"""Types, errors, files and other floors that import nothing of ours."""
