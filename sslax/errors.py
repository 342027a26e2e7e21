"""The one exception that means "what you gave me cannot be used": the scripts print it as one sentence and leave with 2."""


class InputError(ValueError):
    """What the user asked for or handed over is wrong; the message names the field, the value and what would be right."""
