"""What was read compared with what an independent decoder reads, in a process of its own: those may crash or hang."""

import os
import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0

SAME, OTHER, NONE = "same", "other pixels", "no second decoder"


class SecondOpinion:
    """A process that compares, replaced when it dies or hangs."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.connection, theirs = get_context("spawn").Pipe()
        self.process = get_context("spawn").Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.connection.poll(300)
        self.connection.recv()

    def ask(self, files: tuple[Path, ...]) -> str:
        """`SAME`, `OTHER` or `NONE` for a case that was read."""
        self.connection.send(files)
        try:
            if self.connection.poll(SECONDS):
                return self.connection.recv()
        except EOFError:
            pass
        self.end()
        self._start()
        return NONE  # it is the other decoder that died: the package has read this file in a worker that lives

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _work(connection: Connection) -> None:
    sys.path.insert(0, str(ROOT))
    from tests.end_to_end import independent_decoders

    for io in ("NiftiImageIO", "GDCMImageIO", "NrrdImageIO", "MetaImageIO"):  # ITK loads what is asked for: slowly
        getattr(independent_decoders.itk, io)
    quiet = os.open(os.devnull, os.O_WRONLY)  # decoders in C say much about damaged files
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    connection.send("ready")
    while True:
        connection.send(opinion(connection.recv()))


def opinion(files: tuple[Path, ...]) -> str:
    """See `SecondOpinion.ask`."""
    from monai_brain.io import Case, read_case

    image = read_case(Case(files[0].name, files, "slice"))
    try:
        return SAME if any(_agree(image, files)) else OTHER
    except Exception:  # what other decoders say of a damaged file; no opinion
        return NONE


def _agree(image, files):
    """Of each other decoder whether it agrees."""
    from tests.end_to_end import independent_decoders as others

    path, content = files[0], files[0].read_bytes()
    if content[128:132] == b"DICM":
        values = np.concatenate([np.ravel(others.decoded_dicom(own)) for own in files])
        if "monochrome1_inverted" in image.warnings:  # each has its own zero
            image = image._replace(pixels=image.pixels - image.pixels.max())
            values = values - values.max()
        yield _same_values(image, values)
    elif content.startswith(others.PICTURES):
        found = [*others.decoded(path), *(others.of_opencv(content) if content.startswith(others.TIFF) else ())]
        if not found:
            raise ValueError("no other decoder reads it")
        yield from (others.agree(image, own, path) for own in found)
    elif content[:4] in (b"RIFF", b"\xff\x4f\xff\x51", b"\0\0\0\x0c"):
        yield others.agree(image, others.decoded_web(content), path)
    elif content.startswith(b"NRRD") or b"ElementDataFile" in content:
        voxels = files[1].read_bytes() if len(files) > 1 else None
        yield _same_values(image, others.decoded_text_header(content, voxels))
    elif path.suffix in (".mgh", ".mgz"):
        yield _same_values(image, others.decoded_mgh(content))
    else:
        yield _same_values(image, others.decoded_nifti(path))


def _same_values(image, values):
    """By their sorted values, whatever the order of axes; of single precision, as the package has them."""
    one, other = np.sort(image.pixels, axis=None), np.sort(values.astype(np.float32), axis=None)
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-5, atol=1e-6 * float(np.abs(one).max()))
