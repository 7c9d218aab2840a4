"""What the codes of a result mean, in words that a physician understands."""

ABSTENTIONS = {
    "not_a_head": "The picture does not look like an MR slice of a head.",
    "other_sequence": "This is, or looks like, another MR sequence than T1 with contrast, the only one that the "
    "network knows. On others its class would follow the sequence rather than the tumor.",
    "skull_stripped": "The skull was removed from this head. The network was trained on heads with skull.",
    "unlike_training": "The picture is unlike those that the network was trained on, so its class could not be "
    "trusted.",
    "empty_set": "None of the classes is probable enough to be named.",
}
"""By the code of an abstention, or of the warning where a class was given anyway."""

WARNINGS = {
    "evidence_outside_head": "Most of the heat lies outside the head: distrust this picture, not the class.",
    "evidence_empty": "The explanation shows nothing: do not read anything into it.",
    "sequence_not_trained": "The network has not learned from this sequence: the outline means nothing.",
    "patient_refused": "Most pictures of this patient were refused, so this class is likely wrong too.",
    "learned_slice": "The network learned from this slice or its mirror image: it may remember the answer.",
    "volume_experimental": "The class of a volume is experimental: no labelled volumes were there to train on.",
    "one_sequence_replicated": "There is one sequence only; the network was trained on three.",
    "missing_sequence_replaced": "A sequence is missing and was replaced by FLAIR.",
    "spacing_unknown": "The file does not say how large a pixel is, so there are pixels and no size.",
    "single_slice": "The volume has one slice only.",
    "no_affine": "The file does not say how it lies in space.",
    "no_uids": "The file does not say which series it belongs to; it counts as a case of its own.",
    "no_dicom_mask": "The mask could not be written as DICOM, as nothing in this case can be referred to.",
    "same_content_as_before": "An earlier file has the same content.",
    "exif_orientation_applied": "The picture was turned as the file asks.",
    "alpha_flattened": "What was transparent became black.",
    "palette_converted": "Colors of a palette were converted.",
    "cmyk_converted": "Colors made for print were converted.",
    "one_bit": "The picture has two gray values only.",
    "upper_8_bits_only": "Of 16 bits a color, the upper 8 were used.",
    "range_unknown": "The file does not say what is black and what is white; its own darkest and brightest values are.",
    "white_is_zero_inverted": "The file stores white as 0; the picture was inverted.",
    "monochrome1_inverted": "The file stores white as its lowest value; the picture was inverted.",
    "in_color": "The picture is in color, which no MR slice is: the result means nothing.",
    "bright_border": "The picture has no dark background: it may be no MR slice of a head, or be inverted.",
    "few_values": "The picture has a few values only, as masks and label maps do.",
    "extra_pictures_ignored": "The file holds further pictures; the first one was used.",
    "burned_in_annotation": "The file says that its pixels may name the patient.",
    "mosaic_possible": "The file may be a sheet of tiles (Siemens mosaic), which is no slice.",
    "window_ignored": "The file's window does not fit its picture and was not used.",
    "negative_slope": "The file turns its gray values around: compare the picture with your viewer's.",
    "left_right_unknown": "The format does not say where left and right are.",
    "series_in_two_folders": "Files of this series lie in another folder too: it may not be whole.",
}
"""By the code of a warning."""

ERRORS = {
    "empty_file": "The file is empty.",
    "not_an_image": "The file is not an image.",
    "unsupported_format": "The file has a format that cannot be read.",
    "truncated": "The end of the file is missing.",
    "damaged": "The file is damaged.",
    "too_large": "The file is too large.",
    "too_small": "The picture is too small to show anything in a brain.",
    "no_signal": "The picture is empty: all of its pixels are alike.",
    "non_finite": "Some pixels are not numbers.",
    "non_finite_output": "The network's output is not a number: its weights or the engine are broken.",
    "several_pages": "The file has several pages; which one is meant is not clear.",
    "several_volumes": "The file holds several volumes; which one is meant is not clear.",
    "animated": "The file is an animation.",
    "bad_affine": "What the file says about its place in space makes no sense.",
    "bad_rescale": "What the file says about its gray values makes no sense.",
    "geometry_mismatch": "The sequences of this head do not lie on one another.",
    "not_a_mask": "The file is not a mask.",
    "not_mr": "The file is not an MR image.",
    "no_decoder": "The file is compressed in a way that cannot be read here.",
    "no_file_meta": "The DICOM file lacks its first part; export it again.",
    "decimal_comma": "The header has a number with a comma instead of a point.",
    "mosaic": "The file is a sheet of tiles (Siemens mosaic), which is no slice.",
    "mixed_series": "The files belong to several series.",
    "missing_slices": "Slices of the series are missing.",
    "no_positions": "The files do not say where their slices lie.",
    "missing_part": "The other half of the pair of files is missing.",
    "part_elsewhere": "The header points to a file elsewhere, which is not opened.",
    "sequence_not_trained": "The file shows a sequence that the network has not learned from.",
    "slices_out_of_range": "The volume has fewer slices than were asked for.",
    "no_permission": "The file may not be read.",
    "vanished": "The file was gone when its turn came.",
    "changed": "The file changed while it was read.",
    "unreadable": "The system could not read the file.",
    "out_of_memory": "The file needs too much memory.",
    "decoder_died": "The file crashed or stalled its reader.",
    "unsafe_archive": "The archive cannot be unpacked safely.",
    "not_written": "A file or folder is in the way of the result.",
    "removed": "The upload was removed after a while.",
}
"""By the code of an error."""

SKIPPED = {
    "sidecar": "A note, a table or something that a system leaves behind.",
    "special_file": "Not a file with content.",
    "dangling_link": "A link to nothing.",
    "link_loop": "A link that leads back to itself.",
    "link_out": "A link that leads out of the folder.",
    "linked_folder": "A link to a folder whose files are found where they lie.",
    "folder": "A folder with the name of an image.",
    "unreadable_folder": "A folder that may not be opened: what lies in it was not seen.",
    "unused_sequence": "A sequence that the network does not use.",
    "reference_mask": "A mask, by its name.",
    "no_pixels": "A DICOM file without an image.",
}
"""By the code of a skipped file."""

BY_CONTENT = "_by_content"
"""End of the warnings that name the format of a file whose name promises another one."""


def reason(code: str) -> str:
    """What a code means, as a sentence; the code itself where nothing is known of it."""
    if code.endswith(BY_CONTENT):
        return f"The file's name says otherwise, but its content is {code.removesuffix(BY_CONTENT)}."
    known = (words[code] for words in (ABSTENTIONS, WARNINGS, ERRORS, SKIPPED) if code in words)
    return next(known, code.replace("_", " "))
