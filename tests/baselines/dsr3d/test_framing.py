"""Pictures that the object fills, and their maps laid back."""

import pytest
import torch
import torch.nn.functional as F

from threedzal.baselines.dsr3d.framing import MARGIN, framed, object_frames, unframed


def objects() -> torch.Tensor:
    object = torch.zeros(3, 64, 64, dtype=torch.bool)
    object[0, 10:30, 40:52] = True
    object[1, 33:63, 1:63] = True  # the frame reaches beyond the picture
    return object  # the third has none


def test_the_frame_is_the_square_about_the_object():
    x, y, half = object_frames(objects())[0].tolist()
    assert (32 * (x + 1), 32 * (y + 1)) == pytest.approx((46, 20)) and 64 * half == pytest.approx(20 * MARGIN)
    assert object_frames(objects())[2].tolist() == [0, 0, 1]


def test_a_frame_as_large_as_the_picture_is_the_picture():
    values = torch.rand(1, 2, 64, 64)
    whole = torch.tensor([[0.0, 0.0, 1.0]])
    for mode in ("nearest", "bilinear"):
        assert torch.allclose(framed(values, whole, 64, mode=mode), values, atol=1e-5)
    assert torch.allclose(unframed(values[:, 0], whole, 64), values[:, 0], atol=1e-5)


def test_what_is_cut_is_what_slicing_gives():
    """Against slicing, and torch's own resizing."""
    object = torch.zeros(1, 64, 64, dtype=torch.bool)
    object[0, 10:35, 20:45] = True  # 25 * 1.08 = 27
    values = torch.rand(1, 1, 64, 64)
    cut = framed(values, object_frames(object), 27, mode="nearest")
    assert torch.equal(cut, values[:, :, 9:36, 19:46])
    closer = framed(values, object_frames(object), 54, mode="bilinear")
    wanted = F.interpolate(values[:, :, 9:36, 19:46], size=(54, 54), mode="bilinear")
    assert torch.allclose(closer[..., 1:-1, 1:-1], wanted[..., 1:-1, 1:-1], atol=1e-4)  # at its rim neighbours differ


def test_a_map_lies_where_its_object_is_and_is_zero_beside_the_frame():
    smooth = F.avg_pool2d(torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0)), 9, 1, 4)
    frames = object_frames(objects())
    back = unframed(framed(smooth, frames, 96, mode="bilinear")[:, 0], frames, 64)
    inside = objects()[:2]
    assert (back[:2] - smooth[:2, 0])[inside].abs().max() < 0.02
    assert back[0, :, :30].abs().max() == 0 and back[0, 40:].abs().max() == 0
