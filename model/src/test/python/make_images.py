"""Writes the small pictures of the image tests and what Pillow makes of them.

    python3 model/src/test/python/make_images.py

Needs Pillow, NumPy and libwebp; the tests only read the files that are committed. `goldens.csv` has, for each
picture, its size after `ImageOps.exif_transpose` and `convert("RGB")` and the CRC-32 of its bytes.
`tiles.csv` has the CRC-32 of the normalised tiles (little-endian float32) of a pattern.
"""

import io
import pathlib
import struct
import zlib

import numpy
import PIL
from PIL import Image, ImageOps

from webp_encoder import encode

FOLDER = pathlib.Path(__file__).parent.parent / "resources" / "images"
WIDTH, HEIGHT = 41, 27


def picture(width=WIDTH, height=HEIGHT):
    y, x = numpy.mgrid[0:height, 0:width]
    red = 128 + 100 * numpy.sin(x / 7.0) + 20 * numpy.cos(y / 3.0)
    green = (x * 255 // max(1, width - 1) + y * 3) % 256
    blue = 255 * ((x // 5 + y // 4) % 2)
    return Image.fromarray(numpy.stack([red, green, blue], 2).clip(0, 255).astype("uint8"))


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(depth, color, rows, *more):
    """A PNG of rows of packed bytes, for what Pillow can't write."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more)
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def packed(values, depth):
    bits = "".join(format(value % (1 << depth), "0%db" % depth) for value in values)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def pngs():
    image = picture()
    palette = image.quantize(23)
    yield "rgb.png", image, {}
    yield "grey.png", image.convert("L"), {}
    yield "rgba.png", with_alpha(image), {}
    yield "grey-alpha.png", with_alpha(image).convert("LA"), {}
    yield "palette.png", palette, {}
    yield "palette-transparent.png", palette, {"transparency": 3}
    yield "palette-4.png", image.quantize(13), {"bits": 4}
    yield "palette-2.png", image.quantize(4), {"bits": 2}
    yield "palette-1.png", image.quantize(2), {"bits": 1}
    yield "one-bit.png", image.convert("1"), {}
    yield "grey-16.png", Image.fromarray(numpy.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
                                         .astype("int32") * 3), {}


def raw_pngs():
    grid = numpy.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    for depth in (2, 4):
        yield "grey-%d.png" % depth, png(depth, 0, [packed(row.tolist(), depth) for row in grid])
    for name, color, samples in (("rgb-16", 2, 3), ("grey-alpha-16", 4, 2), ("rgba-16", 6, 4)):
        values = (numpy.arange(WIDTH * HEIGHT * samples) * 7919 % 65536).astype(">u2")
        rows = values.reshape(HEIGHT, WIDTH * samples)
        yield name + ".png", png(16, color, [row.tobytes() for row in rows])
    values = (grid * 37 % 1021).astype(">u2")
    yield "grey-16-transparent.png", png(16, 0, [row.tobytes() for row in values],
                                         chunk(b"tRNS", struct.pack(">H", 37)))
    rgb = numpy.asarray(picture())
    yield "rgb-transparent-gamma.png", png(
        8, 2, [row.tobytes() for row in rgb], chunk(b"gAMA", struct.pack(">I", 100000)),
        chunk(b"tRNS", struct.pack(">HHH", *rgb[3, 4])))
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "turned.png", png(8, 2, [row.tobytes() for row in rgb],
                            chunk(b"eXIf", exif.tobytes()[6:]))


def with_alpha(image):
    alpha = numpy.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) % 256
    return Image.fromarray(numpy.dstack([numpy.asarray(image), alpha.astype("uint8")]))


def jpegs():
    image = picture()
    yield "plain.jpg", image, {"quality": 90}
    yield "full-colour.jpg", image, {"quality": 95, "subsampling": 0}
    yield "half-colour.jpg", image, {"quality": 60, "subsampling": 1}
    yield "progressive.jpg", image, {"quality": 80, "progressive": True}
    yield "grey.jpg", image.convert("L"), {"quality": 85}
    cmyk = Image.fromarray(numpy.dstack([numpy.asarray(image),
                                         numpy.asarray(image)[:, ::-1, 1] // 3]), "CMYK")
    yield "cmyk.jpg", cmyk, {"quality": 95}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield "turned-%d.jpg" % orientation, picture(25, 14), {"quality": 70, "exif": exif}


def jpeg_variants():
    """What Pillow can't write: the same coded samples said to mean something else."""
    stored = io.BytesIO()
    cmyk = picture(WIDTH, HEIGHT).convert("RGB")
    four = Image.fromarray(numpy.dstack([numpy.asarray(cmyk), numpy.asarray(cmyk)[::-1, :, 0]]), "CMYK")
    four.save(stored, "jpeg", quality=95)
    data = stored.getvalue()
    at = data.index(b"Adobe")
    yield "ycck.jpg", data[:at + 11] + b"\x02" + data[at + 12:]
    stored = io.BytesIO()
    cmyk.save(stored, "jpeg", quality=90, subsampling=0)
    data = stored.getvalue()
    after = data.index(b"JFIF") + 14
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
    body = data[after:]
    yield "adobe-rgb.jpg", data[:2] + adobe + b"\x00" + body
    yield "adobe-ycc.jpg", data[:2] + adobe + b"\x01" + body
    yield "no-marker.jpg", data[:2] + body
    end = data.rindex(b"\xff\xd9")
    yield "extraneous.jpg", data[:end] + b"\x00\x12\x34" + data[end:] + b"more"


def gifs():
    image = picture()
    yield "plain.gif", image, {}
    yield "grey.gif", image.convert("L"), {}
    yield "interlaced.gif", image.quantize(60), {"interlace": 1}
    frames = [image.quantize(40), image.transpose(Image.FLIP_LEFT_RIGHT).quantize(40)]
    yield "animated.gif", frames[0], {"save_all": True, "append_images": frames[1:]}


def gif_variants():
    """A first frame that is smaller than the screen."""
    stored = io.BytesIO()
    picture(12, 9).quantize(16).save(stored, "gif")
    data = bytearray(stored.getvalue())
    frame = data.index(b",", 13 + (3 << ((data[10] & 7) + 1)))
    data[6:10] = struct.pack("<HH", 20, 15)
    data[frame + 1:frame + 5] = struct.pack("<HH", 5, 3)
    yield "small-frame.gif", bytes(data)
    control = b"\x21\xf9\x04\x01\x00\x00\x07\x00"
    yield "small-frame-transparent.gif", b"GIF89a" + bytes(data[6:frame]) + control + bytes(data[frame:])


def webps():
    image = picture()
    yield "lossless.webp", image, {"lossless": True}
    yield "lossless-alpha.webp", with_alpha(image), {"lossless": True, "exact": True}
    yield "animated.webp", image, {"lossless": True, "save_all": True,
                                   "append_images": [image.transpose(Image.FLIP_TOP_BOTTOM)]}
    exif = Image.Exif()
    exif[0x0112] = 8
    yield "turned.webp", image, {"lossless": True, "exif": exif.tobytes()}
    smooth = picture(64, 48).resize((64, 48), Image.BICUBIC, (0, 0, 20, 15))
    yield "lossy.webp", smooth.copy(), {"quality": 90}
    alpha = Image.fromarray(numpy.arange(64 * 48).reshape(48, 64).astype("uint8"))
    smooth.putalpha(alpha)
    yield "lossy-alpha.webp", smooth, {"quality": 80}
    for quality in (0, 30, 75, 100):
        yield "lossy-%d.webp" % quality, picture(53, 38), {"quality": quality}
    for width, height in ((1, 1), (2, 1), (1, 2), (3, 16), (16, 3), (17, 33)):
        yield "lossy-%dx%d.webp" % (width, height), picture(width, height), {"quality": 60}
    yield "lossy-alpha-odd.webp", with_alpha(image), {"quality": 40, "alpha_quality": 50}
    yield "lossy-animated.webp", image, {"quality": 70, "save_all": True,
                                         "append_images": [image.transpose(Image.FLIP_LEFT_RIGHT)]}
    yield "lossy-turned.webp", image, {"quality": 85, "exif": exif.tobytes()}


def webp_variants():
    """Lossy ones with settings that Pillow leaves alone: filters, segments, partitions, noise."""
    noise = numpy.random.RandomState(1).randint(0, 256, (45, 70, 3)).astype("uint8")
    yield "lossy-simple-filter.webp", encode(picture(75, 50), 20, filter_type=0, filter_strength=80)
    yield "lossy-sharp.webp", encode(picture(75, 50), 20, filter_sharpness=7, filter_strength=100)
    yield "lossy-half-sharp.webp", encode(picture(75, 50), 40, filter_sharpness=3,
                                          filter_strength=70)
    yield "lossy-unfiltered.webp", encode(picture(75, 50), 30, filter_strength=0)
    yield "lossy-one-segment.webp", encode(picture(75, 50), 55, segments=1, method=0)
    yield "lossy-parts.webp", encode(picture(70, 150), 50, partitions=3, method=1)
    yield "lossy-noise.webp", encode(Image.fromarray(noise), 95, sns_strength=100)


def tiles(image, size, most, thumbnail):
    """InternVL's dynamic tiling, in words of its own."""
    width, height = image.size
    grids = sorted({(i, j) for i in range(1, most + 1) for j in range(1, most + 1) if i * j <= most},
                   key=lambda grid: grid[0] * grid[1])
    best, nearest = None, float("inf")
    for grid in grids:
        difference = abs(width / height - grid[0] / grid[1])
        if difference < nearest or (difference == nearest
                                    and width * height > 0.5 * size * size * grid[0] * grid[1]):
            best, nearest = grid, difference
    columns, rows = best
    filled = image.resize((columns * size, rows * size))
    parts = [filled.crop((c * size, r * size, (c + 1) * size, (r + 1) * size))
             for r in range(rows) for c in range(columns)]
    if thumbnail and len(parts) > 1:
        parts.append(image.resize((size, size)))
    values = numpy.stack([numpy.asarray(part) for part in parts]).astype(numpy.float32)
    values = values / numpy.float32(255)
    mean = numpy.array([0.485, 0.456, 0.406], numpy.float32)
    deviation = numpy.array([0.229, 0.224, 0.225], numpy.float32)
    return ((values - mean) / deviation).transpose(0, 3, 1, 2), best


def pattern(width, height):
    y, x, c = numpy.mgrid[0:height, 0:width, 0:3]
    values = x * 37 + y * 91 + c * 53 + (x * y * (c + 3)) % 101 + ((x ^ y) & 7) * 11
    return Image.fromarray((values % 256).astype("uint8"))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for made in (pngs(), jpegs(), gifs(), webps()):
        for name, image, options in made:
            image.save(FOLDER / name, **options)
    for made in (raw_pngs(), jpeg_variants(), gif_variants(), webp_variants()):
        for name, data in made:
            (FOLDER / name).write_bytes(data)
    with open(FOLDER / "goldens.csv", "w") as goldens:
        goldens.write("# file,width,height,crc32; Pillow %s\n" % PIL.__version__)
        for file in sorted(FOLDER.iterdir()):
            if file.suffix not in (".png", ".jpg", ".gif", ".webp"):
                continue
            rgb = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
            goldens.write("%s,%d,%d,%d\n" % (file.name, *rgb.size, zlib.crc32(rgb.tobytes())))
    with open(FOLDER / "tiles.csv", "w") as table:
        table.write("# width,height,tile size,most tiles,thumbnail,columns,rows,crc32\n")
        for width, height, size, most, thumbnail in (
                (640, 427, 448, 12, True), (448, 448, 448, 12, True), (300, 900, 448, 12, True),
                (900, 300, 448, 6, False), (100, 37, 28, 12, True), (56, 28, 28, 12, True),
                (1000, 10, 28, 40, True), (633, 633, 448, 12, True), (634, 634, 448, 12, True)):
            values, grid = tiles(pattern(width, height), size, most, thumbnail)
            table.write("%d,%d,%d,%d,%s,%d,%d,%d\n" % (
                width, height, size, most, str(thumbnail).lower(), *grid,
                zlib.crc32(values.astype("<f4").tobytes())))


if __name__ == "__main__":
    main()
