"""What the user did that cannot work, in one sentence."""


class UserError(ValueError):
    """Bad input: says what came, what was wanted, which file or option, and what to do.

    The command line prints the sentence alone and exits with code 2; Python callers get an ordinary `ValueError`.
    """
