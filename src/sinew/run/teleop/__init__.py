"""Recording by a person who drives the robot."""
