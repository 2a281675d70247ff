"""What ends a command early: what the user did that cannot work, in one sentence, or a signal."""

import signal


class UserError(ValueError):
    """Bad input: says what came, what was wanted, which file or option, and what to do.

    The command line prints the sentence alone and exits with code 2; Python callers get an ordinary `ValueError`.
    """

    def __init__(self, sentence: str, *, told: bool = False) -> None:
        if sentence.startswith("Caught "):  # a loader's worker process hands errors on as text, traceback and all
            sentence = sentence.rsplit(f"{__name__}.{type(self).__name__}: ", 1)[-1].strip()
        super().__init__(sentence)
        self.told = told  # another process of the run says it


class Interrupted(Exception):
    """A signal ended the work; `how` to go on, and the exit code by which shells know such an end."""

    def __init__(self, how: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(how)
        self.exit_code = 128 + signal_number
