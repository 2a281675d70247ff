"""Pictures that the object fills, and their maps laid back."""

import pytest
import torch
import torch.nn.functional as F

from threedzal.baselines.dsr3d.resampling import MARGIN, framed, object_frames, unframed

WHOLE = torch.tensor([[0.0, 0.0, 1.0]])


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
    image, pixels = torch.rand(1, 4, 64, 64), (torch.rand(1, 2, 64, 64) < 0.5).float()
    seen, found = framed(image, pixels, WHOLE, 64)
    assert torch.allclose(seen, image, atol=1e-5) and torch.equal(found, pixels)
    assert torch.allclose(unframed(image[:, 0], WHOLE, 64), image[:, 0], atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_what_is_cut_is_what_slicing_gives(channels):
    """Against slicing, and torch's own resizing; depth alone, too."""
    object = torch.zeros(1, 64, 64, dtype=torch.bool)
    object[0, 10:35, 20:45] = True  # 25 * 1.08 = 27
    image, cut = torch.rand(1, channels, 64, 64), (slice(None), slice(None), slice(9, 36), slice(19, 46))
    same, pixels = framed(image, object[:, None].float(), object_frames(object), 27)
    assert torch.allclose(same, image[cut], atol=1e-5) and torch.equal(same[:, :1], image[cut][:, :1])
    assert torch.equal(pixels, object[:, None].float()[cut])
    closer, _ = framed(image, object[:, None].float(), object_frames(object), 54)
    assert torch.equal(closer[:, :1], F.interpolate(image[cut][:, :1], size=(54, 54), mode="nearest-exact"))
    colour = F.interpolate(image[cut], size=(54, 54), mode="bilinear")[:, 1:]
    inner = (..., slice(1, -1), slice(1, -1))  # at its rim other pixels are near
    assert torch.allclose(closer[:, 1:][inner], colour[inner], atol=1e-4)


def test_a_map_lies_where_its_object_is_and_is_zero_beside_the_frame():
    smooth = F.avg_pool2d(torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0)), 9, 1, 4)
    frames = object_frames(objects())
    _, back = framed(smooth, smooth, frames, 192)
    back = unframed(back[:, 0], frames, 64)
    inside = objects()[:2]
    assert (back[:2] - smooth[:2, 0])[inside].abs().max() < 0.03
    assert back[0, :, :30].abs().max() == 0 and back[0, 40:].abs().max() == 0
