"""Studies: what is learned from many runs, or from a look at one."""
