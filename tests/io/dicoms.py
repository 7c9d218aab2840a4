"""DICOM files made for tests."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

CANARY = "DOE^JANE^CANARY"


def instance(
    pixels, position=(0.0, 0.0, 0.0), series="1.2.3", directions=(1, 0, 0, 0, 1, 0), spacing=(0.8, 0.9), **tags
):
    """An MR image of uint16 pixels (H, W); a tag of None is left out."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.PatientName, data.PatientID = "MR", CANARY, CANARY
    data.SeriesInstanceUID, data.StudyInstanceUID = series, "1.2"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelSpacing, data.ImagePositionPatient = list(spacing), [float(v) for v in position]
    data.ImageOrientationPatient = [float(v) for v in directions]
    data.PixelData = pixels.astype("<u2").tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def save(data, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def picture(seed=0, shape=(40, 44)):
    return np.random.default_rng(seed).integers(10, 1000, shape)


def save_series(folder, count=5, step=6.0, series="1.2.3", skip=(), **tags):
    """Axial slices from the feet up, in files whose names are in no order."""
    for index in range(count):
        if index not in skip:
            data = instance(picture(index), (-20.0, -30.0, index * step), series, **tags)
            save(data, folder / f"{(index * 7) % 10}_{series}.dcm")
