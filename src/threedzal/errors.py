"""What the user did that cannot work, in one sentence."""


class UserError(ValueError):
    """Bad input: says what came, what was wanted, which file or option, and what to do.

    The command line prints the sentence alone and exits with code 2; Python callers get an ordinary `ValueError`.
    """

    def __init__(self, sentence: str, *, told: bool = False) -> None:
        if sentence.startswith("Caught "):  # a loader's worker process hands errors on as text, traceback and all
            sentence = sentence.rsplit(f"{__name__}.{type(self).__name__}: ", 1)[-1].strip()
        super().__init__(sentence)
        self.told = told  # another process of the run says it
