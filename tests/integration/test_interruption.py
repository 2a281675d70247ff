"""A run that a signal ends in its second epoch says how to go on, and goes on to the very same end."""

import shlex
import signal
import subprocess
import sys

import pytest

from threedzal.callbacks import MemoryBankCallback
from threedzal.cli import main

PATIENCE = 240  # seconds until a process that does nothing is given up
# The command, with a line on standard output when its second epoch begins.
SCRIPT = """
import sys
from threedzal.cli import main
from threedzal.model import ThreeDZAL

begin = ThreeDZAL.on_train_epoch_start

def on_train_epoch_start(self):
    begin(self)
    print("epoch", self.current_epoch, flush=True)
    if self.current_epoch == 1:
        sys.stdin.readline()  # until the signal has been sent

ThreeDZAL.on_train_epoch_start = on_train_epoch_start
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def interrupt(config, tmp_path):
    """`interrupt(signal)`: exit code and last line of a fit that got it in its second epoch."""

    def start(number: signal.Signals) -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, "fit", "--config", str(config)],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # as a shell script starts its background jobs; the command must hear SIGINT all the same
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
        try:
            assert any(line.startswith("epoch 1") for line in process.stdout), "the second epoch never began"
            process.send_signal(number)
            _, errors = process.communicate("\n", timeout=PATIENCE)
        finally:
            process.kill()
        assert "Traceback" not in errors
        return process.returncode, errors.strip().splitlines()[-1]

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_fit_goes_on_to_the_same_end(
    number, interrupt, fitted, tested, run, assert_same_fit, tmp_path, monkeypatch
):
    code, sentence = interrupt(number)
    assert code == 128 + number
    stopped = tmp_path / "lightning_logs" / "version_0"
    assert not (stopped / "fitted.ckpt").exists()

    resume = shlex.split(sentence.partition("go on with: ")[2])
    assert resume[0] == "threedzal" and resume[-1].endswith("version_0/checkpoints/last.ckpt")
    monkeypatch.chdir(tmp_path)
    assert main(resume[1:]) == 0
    resumed = tmp_path / "lightning_logs" / "version_1" / "fitted.ckpt"
    assert_same_fit(resumed, fitted.fitted)
    assert run(tmp_path / "test", "test", "--ckpt_path", resumed).metrics == tested.metrics


def test_a_fit_that_was_stopped_before_its_bank_was_built_goes_on_to_the_same_end(
    fitted, run, assert_same_fit, tmp_path
):
    last = fitted.folder / "checkpoints" / "last.ckpt"  # all epochs are done, no bank is in it
    assert_same_fit(run(tmp_path, "fit", "--ckpt_path", last).fitted, fitted.fitted)


def test_sigterm_is_heard_while_the_bank_is_built(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MemoryBankCallback, "on_train_end", terminated(MemoryBankCallback.on_train_end))
    assert main(["fit", "--config", str(config), "--trainer.max_epochs", "1"]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err.strip().endswith("version_0/checkpoints/last.ckpt")
    assert not list(tmp_path.glob("lightning_logs/*/fitted.ckpt"))


def terminated(hook):
    """`hook`, with a SIGTERM to this process as it begins."""

    def begin(self, trainer, module):
        signal.raise_signal(signal.SIGTERM)
        return hook(self, trainer, module)

    return begin
