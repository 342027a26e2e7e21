"""The exception for wrong user input. The commands print its message as one sentence and exit with code 2."""


class InputError(ValueError):
    """An option, file or argument from the user is wrong. The message names the field, the value and what would be right."""
