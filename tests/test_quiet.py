"""Noise of libraries is silenced, and nothing else."""

import logging
import warnings

import pytest

from threedzal.quiet import quieten


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Found 69 module(s) in eval mode at the start of training. This may lead to", False),
        ("The dirpath has changed from './a' to './b', therefore", False),
        ("The 'val_dataloader' does not have many workers which may be a bottleneck.", False),
        ("The loss is NaN in the first epoch", True),
        ("Your data: found 69 modules", True),
    ],
)
def test_only_known_warnings_are_silenced(message, shown):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quieten()
        warnings.warn(message, UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == [message] * shown


@pytest.mark.parametrize(
    ("message", "shown"), [("💡 Tip: try our other product", False), ("Memory bank: 59 rows", True)]
)
def test_only_known_log_lines_are_silenced(message, shown, monkeypatch):
    logger, handler = logging.getLogger("lightning.pytorch"), logging.StreamHandler()
    seen = []
    handler.emit = lambda record: seen.append(record.getMessage())
    monkeypatch.setattr(logger, "handlers", [handler])
    quieten()
    quieten()
    logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 1, message, (), None))
    assert seen == [message] * shown
