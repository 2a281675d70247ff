"""What TensorBoard gets, read back by TensorBoard."""

import io

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def events(report, tmp_path_factory):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    from threedzal.report.to_tensorboard import log_to_tensorboard

    folder = tmp_path_factory.mktemp("events")
    with SummaryWriter(folder) as writer:
        log_to_tensorboard(writer, report(), pictures=2, step=7)
    return EventAccumulator(str(folder)).Reload()


def test_curves_and_the_worst_scans_are_pictures(events):
    curves = {"test/pro_curve", "test/roc_curve", "test/scores", "test/training_curves"}
    assert set(events.Tags()["images"]) == curves | {"test/tube/test/cut/000", "test/tube/test/good/001"}
    (picture,) = events.Images("test/pro_curve")
    assert picture.step == 7
    assert Image.open(io.BytesIO(picture.encoded_image_string)).width > 300


def test_tables_are_text(events):
    def text(tag: str) -> str:
        (entry,) = events.Tensors(f"test/{tag}/text_summary")
        return entry.tensor_proto.string_val[0].decode()

    assert text("metrics").count("\n") == 1 + 4 * 3 + 1  # heads and rule, four rows for two classes and the mean, BTF
    assert "| BTF | tube | 0.312" in text("metrics")
    assert text("scans").count("| tube/test/") == 5
    assert "threedzal fit" in text("commands")
    assert "w_con: 1" in text("config")
