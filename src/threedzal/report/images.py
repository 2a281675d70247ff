"""Pictures for pages: arrays to data URIs and to labelled strips."""

from base64 import b64encode
from io import BytesIO

import numpy as np

SIDE = 360  # longer side of a picture on the page


def data_uri(image: bytes, kind: str) -> str:
    """Bytes of an image file as an address that needs no file and no network."""
    return f"data:image/{kind};base64,{b64encode(image).decode('ascii')}"


def webp_uri(picture: np.ndarray, *, side: int = SIDE) -> str:
    """(h,w,3) or, with opacity, (h,w,4) uint8 as a WebP data URI, its longer side shrunk to `side` pixels."""
    stream = BytesIO()
    shrunk(picture, side).save(stream, format="WEBP", quality=80)
    return data_uri(stream.getvalue(), "webp")


def mask_uri(mask: np.ndarray, colour: tuple[int, int, int], *, side: int = SIDE) -> str:
    """(h,w) bool as a PNG data URI: `colour` where it is True, transparent elsewhere."""
    from PIL import Image

    flat = shrunk(np.where(mask, 255, 0).astype(np.uint8), side).point(lambda value: 255 if value > 90 else 0)
    image = Image.merge("RGBA", [flat.point(lambda _, c=c: c) for c in colour] + [flat])
    stream = BytesIO()
    image.quantize(2).save(stream, format="PNG", optimize=True)
    return data_uri(stream.getvalue(), "png")


def shrunk(picture: np.ndarray, side: int):
    """(h,w) or (h,w,c) uint8 -> PIL image whose longer side is at most `side` pixels."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize([max(1, round(length * scale)) for length in image.size], Image.Resampling.LANCZOS)


def strip(tiles: dict[str, np.ndarray], title: str, *, side: int = 320):
    """Pictures of one size side by side, each below its caption, all below the title; a PIL image.

    Every tile is `side` pixels on its longer side at most; a gap of 8 pixels goes around and between them, and 44 + 22
    pixels for title and captions on top.
    """
    from PIL import Image, ImageDraw, ImageFont

    images = {caption: shrunk(picture, side) for caption, picture in tiles.items()}
    width, height = next(iter(images.values())).size
    gap, top = 8, 66
    canvas = Image.new("RGB", (gap + len(images) * (width + gap), top + height + gap), (247, 248, 250))
    pen = ImageDraw.Draw(canvas)
    pen.text((gap + 2, 11), title, fill=(28, 36, 48), font=ImageFont.load_default(size=17))
    for index, (caption, image) in enumerate(images.items()):
        left = gap + index * (width + gap)
        pen.text((left + 2, 44), caption, fill=(92, 104, 120), font=ImageFont.load_default(size=13))
        canvas.paste(image, (left, top))
    return canvas
