"""Reading 2D images; numbers in names are those of docs/bad_input.md."""

import io
import os
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from monai_brain.io import Case, Limits, UnreadableCase, read_case

GRAY = (np.add.outer(np.arange(40) * 3, np.arange(48) * 2)).astype(np.uint8)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)
DEEP = GRAY.astype(np.uint16) * 250 + 7


def written(tmp_path, content, name="slice.png"):
    path = tmp_path / name
    path.write_bytes(content)
    return Case(name, (path,), "slice")


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    picture = image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def code_of(case, **options):
    with pytest.raises(UnreadableCase) as caught:
        read_case(case, **options)
    return caught.value.code


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("image", [GRAY, COLOR], ids=["gray", "color"])
def test_lossless_formats_give_the_pixels_back(tmp_path, kind, image):
    read = read_case(written(tmp_path, encoded(image, kind), f"slice.{kind.lower()}"))
    expected = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    np.testing.assert_array_equal(read.pixels, expected)
    assert read.warnings == ()


@pytest.mark.parametrize("image", [GRAY, COLOR], ids=["gray", "color"])
def test_jpeg_equals_an_independent_decoder(tmp_path, image):
    content = encoded(image, "JPEG", quality=95)
    read = read_case(written(tmp_path, content, "slice.jpg")).pixels
    other = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    other = other[None] if other.ndim == 2 else other[..., ::-1].transpose(2, 0, 1)
    assert np.abs(read.astype(int) - other).max() <= 1


@pytest.mark.bad_input(23)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_23_16_bit_gray_keeps_its_depth(tmp_path, kind):
    read = read_case(written(tmp_path, encoded(DEEP, kind), f"slice.{kind.lower()}"))
    assert read.pixels.dtype == np.uint16
    np.testing.assert_array_equal(read.pixels[0], DEEP)


@pytest.mark.bad_input(23)
def test_23_16_bit_color_png_keeps_its_depth(tmp_path):
    color = np.stack([DEEP, DEEP[::-1], DEEP // 2], axis=-1)
    done, content = cv2.imencode(".png", color[..., ::-1])
    assert done
    np.testing.assert_array_equal(read_case(written(tmp_path, content.tobytes())).pixels, color.transpose(2, 0, 1))


@pytest.mark.bad_input(24)
def test_24_float_tiff_keeps_its_values_and_says_that_their_range_is_its_own(tmp_path):
    values = GRAY.astype(np.float32) / 3 - 5
    read = read_case(written(tmp_path, encoded(values, "TIFF"), "slice.tif"))
    np.testing.assert_array_equal(read.pixels[0], values)
    assert read.warnings == ("range_unknown",)


@pytest.mark.bad_input(98)
@pytest.mark.parametrize("options", [{"rowsperstrip": 8}, {"tile": (32, 32)}, {"compression": "zlib"}])
@pytest.mark.parametrize("how", ["missing", "zero", "short"])
def test_98_tiff_whose_strips_have_no_length_is_refused(tmp_path, options, how):
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), metadata=None, **options)
    content = bytearray(file.getvalue())
    file.seek(0)
    tag = tifffile.TiffFile(file).pages[0].tags["TileByteCounts" if "tile" in options else "StripByteCounts"]
    if how == "missing":
        content[tag.offset + 2] = 0x43
    elif how == "zero":
        content[tag.valueoffset : tag.valueoffset + 4] = bytes(4)
    elif "compression" not in options:
        content[tag.valueoffset : tag.valueoffset + 2] = b"\1\0"
    else:
        return
    assert code_of(written(tmp_path, bytes(content), "a.tif")) == "damaged"


@pytest.mark.bad_input(98)
@pytest.mark.parametrize("offset", [0, 1, 53])
def test_98_bmp_whose_pixels_begin_in_its_header_is_refused(tmp_path, offset):
    content = bytearray(encoded(COLOR, "BMP"))
    content[10:14] = offset.to_bytes(4, "little")
    assert code_of(written(tmp_path, bytes(content), "a.bmp")) == "damaged"


@pytest.mark.bad_input(99)
def test_99_tiff_of_numbers_beyond_31_bits_is_refused(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64) << 20
    for dtype, code in ((np.uint32, "unsupported_format"), (np.int32, None)):
        file = io.BytesIO()
        tifffile.imwrite(file, values.astype(dtype), metadata=None)
        if code:
            assert code_of(written(tmp_path, file.getvalue(), "a.tif")) == code
        else:
            assert np.array_equal(
                read_case(written(tmp_path, file.getvalue(), "a.tif")).pixels[0], values.astype(dtype)
            )


def test_signed_tiff_keeps_its_values(tmp_path):
    signed = (GRAY.astype(int) - 100).astype(np.int8)
    content = encoded(signed.view(np.uint8), "TIFF", tiffinfo={339: (2,)})
    read = read_case(written(tmp_path, content, "slice.tif"))
    np.testing.assert_array_equal(read.pixels[0], signed)


def test_tiff_of_deep_color_says_what_is_lost(tmp_path):
    color = np.stack([DEEP, DEEP[::-1], DEEP // 2], axis=-1)
    done, content = cv2.imencode(".tiff", color)
    assert done
    assert read_case(written(tmp_path, content.tobytes(), "slice.tif")).warnings == ("upper_8_bits_only",)


def test_bmp_that_pillow_gets_wrong_is_refused(tmp_path):
    content = bytearray(encoded(PIL.Image.fromarray(COLOR).quantize(16), "BMP"))
    content[30:34] = struct.pack("<I", 2)  # 4 bits in run lengths
    assert code_of(written(tmp_path, bytes(content), "slice.bmp")) == "unsupported_format"


def in_run_lengths(picture, first_run):
    """A BMP of 256 colors whose rows are one pixel a run, but for the first run of each."""
    bmp = bytearray(encoded(picture, "BMP"))
    start = int.from_bytes(bmp[10:14], "little")
    bmp[30:34] = struct.pack("<I", 1)
    rows = np.asarray(picture)[::-1].tolist()
    runs = [bytes([first_run, row[0]]) + b"".join(bytes([1, value]) for value in row[1:]) + b"\0\0" for row in rows]
    return bytes(bmp[:start]) + b"".join(runs) + b"\0\1"


def test_bmp_in_run_lengths_is_read_if_they_fit_its_rows(tmp_path):
    picture = PIL.Image.fromarray(COLOR).quantize(200)
    read = read_case(written(tmp_path, in_run_lengths(picture, 1), "slice.bmp"))
    np.testing.assert_array_equal(read.pixels, np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
    for too_long in (2, 255):
        assert code_of(written(tmp_path, in_run_lengths(picture, too_long), "slice.bmp")) == "damaged"


@pytest.mark.bad_input(25)
def test_25_palette_becomes_color(tmp_path):
    palette = PIL.Image.fromarray(COLOR).quantize(64)
    read = read_case(written(tmp_path, encoded(palette, "PNG")))
    np.testing.assert_array_equal(read.pixels, np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    assert read.warnings == ("palette_converted",)


@pytest.mark.bad_input(25, 26)
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_26_transparent_pixels_become_black(tmp_path, mode):
    picture = PIL.Image.fromarray(COLOR).convert(mode)
    alpha = np.full(GRAY.shape, 255, np.uint8)
    alpha[:, :10] = 0
    picture.putalpha(PIL.Image.fromarray(alpha))
    read = read_case(written(tmp_path, encoded(picture, "PNG")))
    assert read.pixels.shape[0] == 3
    assert not read.pixels[:, :, :10].any()
    assert read.pixels[:, :, 10:].any()
    assert "alpha_flattened" in read.warnings


@pytest.mark.bad_input(26)
@pytest.mark.parametrize("image", [GRAY, DEEP, COLOR], ids=["gray", "deep", "color"])
def test_26_the_one_transparent_color_becomes_black(tmp_path, image):
    clear = image[30, 20]
    content = encoded(image, "PNG", transparency=tuple(clear.tolist()) if image.ndim == 3 else int(clear))
    read = read_case(written(tmp_path, content))
    expected = np.atleast_3d(image).copy()
    expected[(expected == clear).all(-1)] = 0
    np.testing.assert_array_equal(read.pixels, np.moveaxis(expected, -1, 0))
    assert read.warnings == ("alpha_flattened",)


@pytest.mark.bad_input(25, 26)
def test_26_a_clear_entry_of_a_palette_is_no_color(tmp_path):
    """Entry 7 is clear; another one is the gray whose values are 7."""
    picture = PIL.Image.fromarray(np.arange(40 * 48, dtype=np.uint8).reshape(40, 48) % 16, "P")
    picture.putpalette([value for entry in range(16) for value in (3 * entry + 1,) * 3])
    read = read_case(written(tmp_path, encoded(picture, "PNG", transparency=7)))
    expected = np.where(np.asarray(picture) == 7, 0, 3 * np.asarray(picture) + 1)
    np.testing.assert_array_equal(read.pixels, np.stack([expected] * 3))


@pytest.mark.bad_input(27)
def test_27_cmyk_is_converted(tmp_path):
    picture = PIL.Image.fromarray(COLOR).convert("CMYK")
    read = read_case(written(tmp_path, encoded(picture, "TIFF"), "slice.tif"))
    np.testing.assert_array_equal(read.pixels, np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
    assert read.warnings == ("cmyk_converted",)


@pytest.mark.bad_input(28)
def test_28_one_bit_is_read_and_warned_about(tmp_path):
    read = read_case(written(tmp_path, encoded(PIL.Image.fromarray(GRAY > 90), "PNG")))
    np.testing.assert_array_equal(read.pixels[0], np.where(GRAY > 90, 255, 0))
    assert read.warnings == ("one_bit",)


@pytest.mark.bad_input(29)
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_29_exif_orientation_is_applied(tmp_path, kind, orientation):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    turned = encoded(GRAY, kind, exif=exif.tobytes(), **({"quality": 98} if kind == "JPEG" else {}))
    read = read_case(written(tmp_path, turned, f"slice.{kind.lower()}"))
    right = {2: GRAY[:, ::-1], 3: GRAY[::-1, ::-1], 4: GRAY[::-1], 5: GRAY.T, 6: np.rot90(GRAY, -1)}
    right |= {7: GRAY[::-1, ::-1].T, 8: np.rot90(GRAY)}
    assert read.pixels[0].shape == right[orientation].shape
    assert np.abs(read.pixels[0].astype(int) - right[orientation]).mean() < 3
    assert "exif_orientation_applied" in read.warnings


@pytest.mark.bad_input(29)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_29_orientation_is_applied_to_16_bit_color_too(tmp_path, orientation):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    shallow = encoded(COLOR, "PNG", exif=exif.tobytes())
    done, deep = cv2.imencode(".png", COLOR[..., ::-1].astype(np.uint16) * 257)
    assert done
    start = shallow.index(b"eXIf") - 4
    end = start + 12 + struct.unpack(">I", shallow[start : start + 4])[0]
    content = deep.tobytes()[:33] + shallow[start:end] + deep.tobytes()[33:]
    expected = read_case(written(tmp_path, shallow)).pixels
    np.testing.assert_array_equal(read_case(written(tmp_path, content)).pixels // 257, expected)


def test_white_is_zero_is_inverted_at_any_depth(tmp_path):
    for name, image in (("8", GRAY), ("16", DEEP)):
        content = encoded(image, "TIFF", tiffinfo={262: 0})
        read = read_case(written(tmp_path, content, f"{name}.tif"))
        as_stored = np.asarray(PIL.Image.open(io.BytesIO(encoded(image, "TIFF"))))
        top = np.iinfo(image.dtype).max
        stored = top - as_stored if name == "16" else read.pixels[0]
        np.testing.assert_array_equal(read.pixels[0], stored)
        assert ("white_is_zero_inverted" in read.warnings) == (name == "16")


def test_reading_leaves_other_warnings_alone(tmp_path):
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_case, [written(tmp_path, encoded(GRAY, "PNG"))] * 50))
    assert list(warnings.filters) == before


@pytest.mark.bad_input(6)
def test_6_png_named_jpg_is_read_with_a_warning(tmp_path):
    assert read_case(written(tmp_path, encoded(GRAY, "PNG"), "slice.jpg")).warnings == ("png_by_content",)


JPEG, PNG = encoded(COLOR, "JPEG"), encoded(COLOR, "PNG")
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n(rm -rf) run\n"


def uniform(value):
    return encoded(np.full((64, 64, len(value)), value, np.uint8).squeeze(), "PNG")


def holding(value):
    return encoded(np.where(GRAY > 9, value, 1).astype(np.float32), "TIFF")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"", "empty_file", id="zero_bytes", marks=pytest.mark.bad_input(1)),
        pytest.param(b"<html><body>404</body></html>", "not_an_image", id="html", marks=pytest.mark.bad_input(2)),
        pytest.param(b"Not found\n", "not_an_image", id="text", marks=pytest.mark.bad_input(2)),
        pytest.param(JPEG[: len(JPEG) // 2], "truncated", id="half_a_jpeg", marks=pytest.mark.bad_input(3)),
        pytest.param(JPEG[:-20], "truncated", id="last_bytes_of_a_jpeg", marks=pytest.mark.bad_input(4)),
        pytest.param(PNG[:-20], "truncated", id="last_bytes_of_a_png", marks=pytest.mark.bad_input(4)),
        pytest.param(SVG, "unsupported_format", id="svg", marks=pytest.mark.bad_input(7)),
        pytest.param(EPS, "unsupported_format", id="eps", marks=pytest.mark.bad_input(8)),
        pytest.param(
            encoded(GRAY, "GIF", save_all=True, append_images=[PIL.Image.fromarray(GRAY[::-1])]),
            "unsupported_format",
            id="animated_gif",
            marks=pytest.mark.bad_input(31),
        ),
        pytest.param(encoded(GRAY[:31], "PNG"), "too_small", id="too_small", marks=pytest.mark.bad_input(32)),
        pytest.param(uniform((0,)), "no_signal", id="all_black", marks=pytest.mark.bad_input(36)),
        pytest.param(uniform((200, 0, 0)), "no_signal", id="one_color", marks=pytest.mark.bad_input(36)),
        pytest.param(holding(np.nan), "non_finite", id="nan", marks=pytest.mark.bad_input(37)),
        pytest.param(holding(np.inf), "non_finite", id="infinite", marks=pytest.mark.bad_input(37)),
    ],
)
def test_bad_file_is_refused_with_its_code(tmp_path, content, code):
    assert code_of(written(tmp_path, content)) == code


def zeroed(content):
    """The same file with 64 bytes in its middle set to zero."""
    middle = len(content) // 2
    return content[: middle - 32] + bytes(64) + content[middle + 32 :]


@pytest.mark.bad_input(5)
def test_zeroed_bytes_are_noticed_where_a_checksum_is_and_nowhere_else(tmp_path):
    assert code_of(written(tmp_path, zeroed(PNG))) == "damaged"
    for kind in ("JPEG", "BMP", "TIFF"):
        content = encoded(COLOR, kind)
        read = read_case(written(tmp_path, zeroed(content), f"slice.{kind.lower()}"))
        assert read.pixels.shape == (3, *GRAY.shape)
        assert read.warnings == (), "else the page on bad input has to say so"


@pytest.mark.bad_input(30)
def test_30_several_pages_are_refused(tmp_path):
    pages = encoded(GRAY, "TIFF", save_all=True, append_images=[PIL.Image.fromarray(GRAY)])
    assert code_of(written(tmp_path, pages)) == "several_pages"


@pytest.mark.bad_input(31)
def test_31_animated_png_is_refused(tmp_path):
    frames = encoded(GRAY, "PNG", save_all=True, append_images=[PIL.Image.fromarray(GRAY[::-1])])
    assert code_of(written(tmp_path, frames)) == "animated"


@pytest.mark.parametrize(
    "side",
    [
        pytest.param(7000, id="over_40_megapixels", marks=pytest.mark.bad_input(34)),
        pytest.param(30000, id="bomb", marks=pytest.mark.bad_input(33)),
    ],
)
def test_huge_announced_size_is_refused_before_decoding(tmp_path, side):
    png = bytearray(encoded(GRAY, "PNG"))
    png[16:24] = struct.pack(">II", side, side)
    png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
    began = time.monotonic()
    assert code_of(written(tmp_path, bytes(png))) == "too_large"
    assert time.monotonic() - began < 1


@pytest.mark.bad_input(35)
def test_35_header_that_lies_about_the_size_is_refused(tmp_path):
    bmp = bytearray(encoded(COLOR, "BMP"))
    bmp[18:22] = struct.pack("<i", 400)
    assert code_of(written(tmp_path, bytes(bmp))) == "truncated"


@pytest.mark.bad_input(14)
def test_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    case = written(tmp_path, PNG)

    def refuse(path):  # root, as whom containers run, may read everything
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert code_of(case) == "no_permission"


@pytest.mark.bad_input(21)
@pytest.mark.parametrize("now", [PNG + b"more", PNG[:-1] + b"x", PNG[:100]], ids=["grows", "is replaced", "shrinks"])
def test_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch, now):
    case = written(tmp_path, PNG)
    os.utime(case.files[0], (0, 0))
    read_bytes = Path.read_bytes

    def read_and_change(path):
        content = read_bytes(path)
        path.write_bytes(now)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_change)
    assert code_of(case) == "changed"


@pytest.mark.bad_input(22)
def test_22_file_that_vanished_is_refused(tmp_path):
    assert code_of(Case("gone.png", (tmp_path / "gone.png",), "slice")) == "vanished"


def test_large_file_is_refused_unread(tmp_path):
    assert code_of(written(tmp_path, encoded(GRAY, "PNG")), limits=Limits(max_bytes=10)) == "too_large"


def test_every_cut_of_every_format_is_refused_or_read(tmp_path):
    """No content may raise anything but UnreadableCase."""
    for kind in ("PNG", "JPEG", "BMP", "TIFF"):
        content = encoded(COLOR, kind)
        for cut in np.linspace(1, len(content) - 1, 40).astype(int):
            case = written(tmp_path, content[:cut])
            try:
                assert np.isfinite(read_case(case).pixels).all()
            except UnreadableCase as refusal:
                assert refusal.code


def test_message_holds_neither_path_nor_content(tmp_path):
    with pytest.raises(UnreadableCase) as caught:
        read_case(written(tmp_path, b"JOHN DOE 1950", "john_doe.png"))
    assert "john" not in str(caught.value).lower()
