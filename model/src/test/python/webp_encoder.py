"""libwebp's encoder with the settings that Pillow does not pass on.

    data = encode(image, quality=50, filter_type=0, partitions=2)

Needs libwebp 1.x as a shared library (Debian: libwebp7).
"""

import ctypes

ABI = 0x020F
SETTINGS = (
    "lossless quality method image_hint target_size target_PSNR segments sns_strength "
    "filter_strength filter_sharpness filter_type autofilter alpha_compression alpha_filtering "
    "alpha_quality passes show_compressed preprocessing partitions partition_limit "
    "emulate_jpeg_size thread_level low_memory near_lossless exact use_delta_palette "
    "use_sharp_yuv qmin qmax").split()


class Config(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float if name in ("quality", "target_PSNR") else ctypes.c_int)
                for name in SETTINGS]


class Picture(ctypes.Structure):
    """Up to what is set here; the rest is room."""

    _fields_ = [("use_argb", ctypes.c_int), ("colorspace", ctypes.c_int),
                ("width", ctypes.c_int), ("height", ctypes.c_int),
                ("planes", ctypes.c_void_p * 3), ("strides", ctypes.c_int * 2),
                ("alpha", ctypes.c_void_p), ("alpha_stride", ctypes.c_int),
                ("pad1", ctypes.c_uint32 * 2),
                ("argb", ctypes.c_void_p), ("argb_stride", ctypes.c_int),
                ("pad2", ctypes.c_uint32 * 3),
                ("writer", ctypes.c_void_p), ("custom", ctypes.c_void_p),
                ("rest", ctypes.c_uint8 * 512)]


class MemoryWriter(ctypes.Structure):
    _fields_ = [("memory", ctypes.c_void_p), ("size", ctypes.c_size_t),
                ("room", ctypes.c_size_t), ("pad", ctypes.c_uint32)]


def require(done):
    if not done:
        raise RuntimeError("libwebp refuses")


def encode(image, quality=75, **settings):
    """A picture as lossy WebP. Settings are those of libwebp's `WebPConfig`."""
    library = ctypes.CDLL("libwebp.so.7")
    config = Config()
    require(library.WebPConfigInitInternal(ctypes.byref(config), 0, ctypes.c_float(quality), ABI))
    for name, value in settings.items():
        if name not in SETTINGS:
            raise ValueError(name)
        setattr(config, name, value)
    picture = Picture()
    require(library.WebPPictureInitInternal(ctypes.byref(picture), ABI))
    picture.width, picture.height = image.size
    require(library.WebPPictureImportRGB(
        ctypes.byref(picture), image.convert("RGB").tobytes(), 3 * picture.width))
    writer = MemoryWriter()
    library.WebPMemoryWriterInit(ctypes.byref(writer))
    picture.writer = ctypes.cast(library.WebPMemoryWrite, ctypes.c_void_p)
    picture.custom = ctypes.cast(ctypes.byref(writer), ctypes.c_void_p)
    require(library.WebPEncode(ctypes.byref(config), ctypes.byref(picture)))
    data = ctypes.string_at(writer.memory, writer.size)
    library.WebPMemoryWriterClear(ctypes.byref(writer))
    library.WebPPictureFree(ctypes.byref(picture))
    return data
