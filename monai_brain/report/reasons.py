"""What the codes of a result mean, in words that a physician understands."""

ABSTENTIONS = {
    "not_a_head": "The image does not look like an MR slice of a head.",
    "other_sequence": "This is, or looks like, an MR sequence other than T1 with contrast, the only one the "
    "network was trained on. On others, its class would depend on the sequence more than on the tumor.",
    "skull_stripped": "The skull was removed from this image. The network was trained on heads with the skull.",
    "unlike_training": "The image is unlike those that the network was trained on, so its class could not be trusted.",
    "empty_set": "No class is probable enough to be given.",
}
"""By the code of an abstention, or of the warning if a class was given anyway."""

WARNINGS = {
    "evidence_outside_head": "Most of the heat lies outside the head: distrust the map, not the class.",
    "evidence_empty": "The heat map is empty: it explains nothing.",
    "sequence_not_trained": "The network was not trained on this sequence: the outline means nothing.",
    "patient_refused": "Most images of this patient were refused. Check that this one is T1 with contrast.",
    "folder_refused": "Most images in this folder were refused. Check that this one is T1 with contrast.",
    "learned_slice": "The network was trained on this slice or its mirror image: it may remember the answer.",
    "volume_experimental": "The class of a volume is experimental: there were no labeled volumes to train on.",
    "one_sequence_replicated": "There is only one sequence; the network was trained on three.",
    "missing_sequence_replaced": "A sequence is missing and was replaced by FLAIR.",
    "spacing_unknown": "The file does not give the pixel size, so sizes are in pixels only.",
    "single_slice": "The volume has only one slice.",
    "no_affine": "The file does not give the orientation of the volume.",
    "no_uids": "The file does not say which series it belongs to; it is treated as a separate case.",
    "no_dicom_mask": "The mask could not be written as DICOM: the files of this case lack the identifiers to refer to.",
    "same_content_as_before": "An earlier file has the same content.",
    "exif_orientation_applied": "The image was rotated as the file specifies.",
    "alpha_flattened": "Transparent areas became black.",
    "palette_converted": "Palette colors were converted.",
    "cmyk_converted": "Print colors (CMYK) were converted.",
    "one_bit": "The image has only two gray values.",
    "upper_8_bits_only": "Only the upper 8 of 16 bits per color were used.",
    "range_unknown": "The file does not define black and white; its darkest and brightest values were used.",
    "white_is_zero_inverted": "The file stores white as 0; the image was inverted.",
    "monochrome1_inverted": "The file stores white as its lowest value; the image was inverted.",
    "in_color": "The image is in color, and MR slices are not: the result means nothing.",
    "bright_border": "The image has no dark background: it may not be an MR slice of a head, or it may be inverted.",
    "few_values": "The image has only a few values, like a mask or a label map.",
    "extra_pictures_ignored": "The file contains more than one image; the first was used.",
    "burned_in_annotation": "The file says that the patient's name may be visible in the image.",
    "mosaic_possible": "The file may be a sheet of tiles (Siemens mosaic) rather than a slice.",
    "window_ignored": "The file's display window does not fit its pixel values and was not used.",
    "negative_slope": "The file reverses its gray values: compare the image with the one in your viewer.",
    "left_right_unknown": "The format does not say which side is left.",
    "series_in_two_folders": "Another folder also contains files of this series: it may be incomplete here.",
}
"""By the code of a warning."""

ERRORS = {
    "empty_file": "The file is empty.",
    "not_an_image": "The file is not an image.",
    "unsupported_format": "The file format is not supported.",
    "truncated": "The end of the file is missing.",
    "damaged": "The file is damaged.",
    "too_large": "The file is too large.",
    "too_small": "The image is too small to show a brain.",
    "no_signal": "The image is empty: all pixels have the same value.",
    "non_finite": "Some pixels are not numbers.",
    "non_finite_output": "The network's output is not a number: the weights or the engine are broken.",
    "several_pages": "The file has several pages, and it is unclear which one to use.",
    "several_volumes": "The file contains several volumes, and it is unclear which one to use.",
    "animated": "The file is an animation.",
    "bad_affine": "The file gives an invalid orientation or position.",
    "bad_rescale": "The file gives an invalid scale for its gray values.",
    "geometry_mismatch": "The sequences of this head are not aligned on one grid.",
    "not_a_mask": "The file is not a mask.",
    "not_mr": "The file is not an MR image.",
    "no_decoder": "The file uses a compression that cannot be decoded here.",
    "no_file_meta": "The DICOM file lacks its file meta information; export it again.",
    "decimal_comma": "The header has a number with a decimal comma instead of a point.",
    "mosaic": "The file is a sheet of tiles (Siemens mosaic), not a slice.",
    "mixed_series": "The files belong to several series.",
    "missing_slices": "Slices of the series are missing.",
    "no_positions": "The files do not give the positions of their slices.",
    "missing_part": "The other file of the pair is missing.",
    "part_elsewhere": "The header points to a file in another folder, which is not opened.",
    "sequence_not_trained": "The file shows a sequence that the network was not trained on.",
    "slices_out_of_range": "The volume has fewer slices than requested.",
    "no_permission": "There is no permission to read the file.",
    "vanished": "The file disappeared before it was read.",
    "changed": "The file changed while it was being read.",
    "unreadable": "The operating system could not read the file.",
    "out_of_memory": "The file needs too much memory.",
    "decoder_died": "The file made its decoder crash or hang.",
    "unsafe_archive": "The archive cannot be unpacked safely.",
    "not_written": "A file or folder is in the way of the result.",
    "removed": "The upload was removed after a period without use.",
}
"""By the code of an error."""

SKIPPED = {
    "sidecar": "A note, a table or a system file.",
    "special_file": "Not a regular file.",
    "dangling_link": "A link whose target does not exist.",
    "link_loop": "A link that leads back to itself.",
    "link_out": "A link to something outside the folder.",
    "linked_folder": "A link to a folder inside this one; its files are found there.",
    "folder": "A folder with the name of an image.",
    "unreadable_folder": "A folder without read permission: its contents were not seen.",
    "unused_sequence": "A sequence that the network does not use.",
    "reference_mask": "A mask, by its name.",
    "no_pixels": "A DICOM file without an image.",
}
"""By the code of a skipped file."""

BY_CONTENT = "_by_content"
"""Suffix of warnings that name the actual format of a file with a misleading name."""


def reason(code: str) -> str:
    """The meaning of a code as a sentence; the code itself if it is unknown."""
    if code.endswith(BY_CONTENT):
        return f"Despite its name, the file's content is {code.removesuffix(BY_CONTENT)}."
    known = (words[code] for words in (ABSTENTIONS, WARNINGS, ERRORS, SKIPPED) if code in words)
    return next(known, code.replace("_", " "))
