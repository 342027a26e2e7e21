"""The commands, a file each, and what they show on a terminal."""
