"""The commands, one file each, and their terminal output."""
