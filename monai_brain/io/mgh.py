"""FreeSurfer's volumes, MGH and MGZ, read by way of NIfTI."""

import struct
import zlib

import nibabel as nib
import numpy as np

from monai_brain.io.nifti import GZIP, decompressed, read_nifti
from monai_brain.io.record import Image, Limits, UnreadableCase

HEADER = struct.Struct(">7ih")
"""Version, width, height, depth, frames, type, degrees of freedom, and whether the orientation is known."""

DATA_BEGINS = 284
BYTES_OF_TYPE = {0: 1, 1: 4, 3: 4, 4: 2}
"""uint8, int32, float32 and int16; others (FreeSurfer's bit masks and RGB) are no images."""


def is_mgh(content: bytes) -> bool:
    """Whether a file, compressed or not, begins as MGH does."""
    if content.startswith(GZIP):
        try:
            content = zlib.decompressobj(wbits=31).decompress(content[:4096], HEADER.size)
        except zlib.error:
            return False
    if len(content) < HEADER.size:
        return False
    version, *shape, kind, _, oriented = HEADER.unpack_from(content)
    return version == 1 and kind in BYTES_OF_TYPE and min(shape) > 0 and oriented in (0, 1)


def read_mgh(content: bytes, limits: Limits) -> Image:
    """Decode an MGH or MGZ file.

    Args:
        content: the file.
        limits: sizes beyond which it is refused, before memory is taken.

    Returns:
        A volume, as `io.nifti.read_nifti` gives it; its masks are written as NIfTI.

    Raises:
        UnreadableCase: as `read_nifti`.
    """
    if content.startswith(GZIP):
        content = decompressed(content, limits)
    _, *shape, kind, _, is_placed = HEADER.unpack_from(content)
    voxels = int(np.prod(shape, dtype=object))
    if voxels > limits.max_voxels:
        raise UnreadableCase("too_large", f"{voxels} voxels; at most {limits.max_voxels} are read")
    if len(content) < DATA_BEGINS + voxels * BYTES_OF_TYPE[kind]:
        raise UnreadableCase("truncated", "fewer voxels than the header announces: the file was cut")
    try:
        stored = nib.MGHImage.from_bytes(content)
        volume = nib.Nifti1Image(np.asarray(stored.dataobj), stored.affine)
    except (ValueError, OverflowError, np.linalg.LinAlgError) as error:
        raise UnreadableCase("damaged", f"the header makes no sense ({error})") from None
    volume.header.set_xyzt_units("mm")
    for place in (volume.set_qform, volume.set_sform):
        place(stored.affine if is_placed else None, code="scanner" if is_placed else 0)
    return read_nifti(volume.to_bytes(), limits)
