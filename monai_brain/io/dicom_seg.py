"""Write masks as DICOM Segmentation objects that reference their source series (PS3.3, A.51), with highdicom.

They are built from `DicomSource`, an allow-list: nothing else from the source's headers can reach them.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from monai_brain import __version__
from monai_brain.io.dicom_source import DicomSource, is_uid
from monai_brain.io.orient import VolumeSource, in_source_orientation
from monai_brain.io.write import atomic

MANUFACTURER = "MONAI Brain developers"
ALGORITHM = "MONAI Brain UNet-VGG16"
DESCRIPTION = "MONAI Brain: tumor, automatic, research use only"
"""Of the series; LO takes 64 characters."""

SERIES_NUMBER = 9000
"""Beyond what scanners count to."""

CATEGORY = codes.SCT.MorphologicallyAbnormalStructure
"""(49755003, SCT), of CID 7150."""
PROPERTY = codes.SCT.Neoplasm
"""(108369006, SCT), of CID 7159. Not "Neoplasm, Primary": a mask does not say where a tumor came from."""

DUMMY_DATE, DUMMY_TIME = "19000101", "000000"
"""Of the object's own date where dates are removed; the standard wants one there (PS3.15, action D)."""

DEIDENTIFIED = "MONAI Brain: allow-list; patient, UIDs replaced; dates removed"
"""How, in the 64 characters of LO."""

warnings.filterwarnings("ignore", module=r"highdicom\..*")
"""highdicom's warnings repeat odd values, so they are hidden: patient names must not appear in a terminal."""


class NoSegmentation(ValueError):
    """A source that a DICOM segmentation cannot reference, with the reason; other mask formats are still written."""


def write_segmentation(
    path: Path, mask: np.ndarray, dicom: DicomSource, volume: VolumeSource | None, *, deidentified: bool = False
) -> None:
    """Write a mask as a DICOM Segmentation, atomically; only slices with tumor have a frame.

    Args:
        path: ends in `.dcm`.
        mask: bool, at least one pixel set; (H, W) of a slice, (D, H, W) of a volume, as `read_dicom` turned it.
        dicom: of the image that it belongs to; patient and UIDs are taken as they stand there.
        volume: of the same image; None for a slice.
        deidentified: `dicom` names replacements (see `io.deidentify`): say so in the object, and give it no date.

    Raises:
        NoSegmentation: the source lacks UIDs, or is of a class whose frames cannot be referred to.
    """
    _check(dicom)
    frames = mask[None] if volume is None else in_source_orientation(mask, volume).transpose(2, 1, 0)
    if dicom.instances[0].frames:  # a multi-frame object's own order need not be that of its positions
        order = np.argsort([own.frame for own in dicom.instances])
        frames, dicom = frames[order], dicom._replace(instances=tuple(dicom.instances[index] for index in order))
    # Old files may lack it; their mask lies in a frame of its own, tied to the source by references.
    frame_uid = dicom.identity["FrameOfReferenceUID"] or str(hd.UID())
    dicom = dicom._replace(identity={**dicom.identity, "FrameOfReferenceUID": frame_uid})
    sources = _sources(dicom)
    try:
        segmentation = _segmentation(sources, np.ascontiguousarray(frames, np.uint8), deidentified)
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # highdicom's words can hold values of a header
        raise NoSegmentation(f"highdicom refuses the source ({type(error).__name__})") from None
    _complete(segmentation, dicom, deidentified)
    content = io.BytesIO()
    segmentation.save_as(content, enforce_file_format=True)
    with atomic(path, "wb") as file:
        file.write(content.getbuffer())


def _check(dicom: DicomSource) -> None:
    identity, instances = dicom.identity, dicom.instances
    uids = [identity["StudyInstanceUID"], identity["SeriesInstanceUID"]]
    uids += [uid for own in instances for uid in (own.sop_class_uid, own.sop_instance_uid)]
    if not all(is_uid(uid) for uid in uids):
        raise NoSegmentation("the source lacks UIDs, so nothing can refer to it")
    names = {(own.sop_instance_uid, own.frame) for own in instances}
    if len(names) < len(instances):
        raise NoSegmentation("several slices of the source have one UID, so no frame can refer to one of them")
    if instances[0].frames and any(own.sop_instance_uid != instances[0].sop_instance_uid for own in instances):
        raise NoSegmentation("the source is several multi-frame objects; a segmentation refers to one")


def _sources(dicom: DicomSource) -> list[Dataset]:
    """Headers for highdicom with the allow-listed fields, without pixels."""
    if not dicom.instances[0].frames:
        return [_single_frame(dicom, index) for index in range(len(dicom.instances))]
    data = _header(dicom, dicom.instances[0])
    data.NumberOfFrames = len(dicom.instances)
    shared = Dataset()
    shared.PixelMeasuresSequence = hd.PixelMeasuresSequence(dicom.spacing_mm or (1.0, 1.0), dicom.thickness_mm)
    frames = [Dataset() for _ in dicom.instances]
    if dicom.directions is not None:
        system = hd.CoordinateSystemNames.PATIENT
        shared.PlaneOrientationSequence = hd.PlaneOrientationSequence(system, dicom.directions)
        for frame, own in zip(frames, dicom.instances, strict=True):
            assert own.position_mm is not None  # `DicomSource` has all or none
            frame.PlanePositionSequence = hd.PlanePositionSequence(system, own.position_mm)
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = frames
    return [data]


def _single_frame(dicom: DicomSource, index: int) -> Dataset:
    own = dicom.instances[index]
    data = _header(dicom, own)
    if dicom.directions is not None:
        assert own.position_mm is not None and dicom.spacing_mm is not None  # `DicomSource` has all or none
        data.PixelSpacing = [_decimal(value) for value in dicom.spacing_mm]
        data.ImagePositionPatient = [_decimal(value) for value in own.position_mm]
        data.ImageOrientationPatient = [_decimal(value) for value in dicom.directions]
        data.SliceThickness = dicom.thickness_mm
    return data


def _header(dicom: DicomSource, own: Any) -> Dataset:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    for name, value in dicom.identity.items():
        setattr(data, name, value)
    data.SOPClassUID, data.SOPInstanceUID = own.sop_class_uid, own.sop_instance_uid
    data.Modality, data.Rows, data.Columns = "MR", dicom.rows, dicom.columns
    return data


def _decimal(value: float) -> Any:
    return DSfloat(value, auto_format=True)


def _segmentation(sources: list[Dataset], frames: np.ndarray, deidentified: bool) -> hd.seg.Segmentation:
    algorithm = hd.AlgorithmIdentificationSequence(
        name=ALGORITHM, family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Tumor",
        segmented_property_category=CATEGORY,
        segmented_property_type=PROPERTY,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=hd.UID(),
        tracking_id="tumor",
        anatomic_regions=[codes.SCT.Brain],
    )
    dates: dict[str, Any] = {name: DUMMY_DATE for name in ("content_date", "series_date")}
    dates |= {name: DUMMY_TIME for name in ("content_time", "series_time")}
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="MONAI Brain",
        software_versions=__version__,
        device_serial_number=__version__,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        content_label="TUMOR",
        content_description="Tumor on MR; research use only, not a medical device",
        series_description=DESCRIPTION,
        **(dates if deidentified else {}),
    )


def _complete(segmentation: hd.seg.Segmentation, dicom: DicomSource, deidentified: bool) -> None:
    """Set the fields that highdicom does not."""
    segmentation.BodyPartExamined = "BRAIN"
    if dicom.directions is None:  # the object has no place in space then, and must not say that it has
        for name in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
            if name in segmentation:
                delattr(segmentation, name)
        segmentation.PatientOrientation = ""
    if deidentified:
        del segmentation.InstanceCreationDate, segmentation.InstanceCreationTime
        for equipment in segmentation.ContributingEquipmentSequence:
            equipment.pop("ContributionDateTime", None)
        segmentation.PatientIdentityRemoved = "YES"
        segmentation.DeidentificationMethod = DEIDENTIFIED
        segmentation.LongitudinalTemporalInformationModified = "REMOVED"
