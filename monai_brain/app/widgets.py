"""The page's pieces as HTML, every name escaped; what is said of codes. Knows no gradio."""

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from monai_brain.data.demo.writing import DEMO_PREFIX
from monai_brain.inference.prediction import ABSTAINED
from monai_brain.inference.session import Result
from monai_brain.io.write import encoded_png
from monai_brain.labels import SET_SEPARATOR, colors_of, either, in_words
from monai_brain.report.explanations import METHOD_NAMES
from monai_brain.report.reasons import reason

SEQUENCES = {
    "t1": "T1",
    "t1c": "T1 with contrast",
    "t2": "T2",
    "flair": "FLAIR",
    "diffusion": "diffusion",
    "susceptibility": "susceptibility",
}
"""Names for people, by those of `io.sequences.SAID`."""

NOTICE = "Research use only; not a medical device."

SYNTHETIC = "A synthetic picture, not a patient."

MAY_BE_WRONG = "The network was trained on real slices and is often wrong on synthetic ones."

WAYS_OUT = {
    "empty_file": "Export the image again.",
    "not_an_image": "Give a JPEG, PNG, BMP, TIFF, NIfTI, Analyze, NRRD, MHA or DICOM file.",
    "unsupported_format": "Convert it to PNG, NIfTI or DICOM.",
    "truncated": "Copy or export the file again; its end is missing.",
    "damaged": "Copy or export the file again.",
    "too_large": "Give a smaller file, or use monai-brain predict for a folder.",
    "too_small": "Give the image in its full size.",
    "no_signal": "Give a slice that is not empty.",
    "several_pages": "Save each page as a separate file.",
    "several_volumes": "Save each volume as a separate file.",
    "animated": "Save the slice you want as a separate file.",
    "not_mr": "Give MR images.",
    "missing_part": "Send the header and the voxel file together.",
    "part_elsewhere": "Put the voxel file next to its header, and write only its name there.",
    "mosaic": "Export single slices, or NIfTI.",
    "decimal_comma": "Write the numbers in the header with a decimal point.",
    "no_file_meta": "Export the series again, as DICOM files with a preamble.",
    "missing_slices": "Send all files of the series.",
    "mixed_series": "Send the files of one series.",
    "geometry_mismatch": "Register the sequences to one another first.",
    "unsafe_archive": "Unpack the archive and send its files.",
    "sidecar": "Send the images themselves.",
    "decoder_died": "The file may be damaged; export it again.",
    "out_of_memory": "Give a smaller file.",
    "not_written": "Rename the file or the folder of the same name.",
    "sequence_not_trained": "Send FLAIR, or all sequences of the head together.",
    "removed": "Send the file again.",
}
"""By the code of a refusal."""


def picture(image: np.ndarray, words: str, kind: str = "") -> str:
    """An image inside the page, uint8 gray, RGB or RGBA."""
    content = base64.b64encode(encoded_png(image)).decode()
    return f'<img class="{escape(kind)}" alt="{escape(words)}" src="data:image/png;base64,{content}">'


def welcome() -> str:
    """What stands where the result will be."""
    return '<div class="mb-empty"><p>The result appears here.</p><p>Choose a file, or try an example.</p></div>'


def working(name: str, done: int, number: int) -> str:
    """How far it is, with a button to cancel; script of the page hears it.

    Args:
        name: of the case.
        done: slices that are done.
        number: of slices; 0: the file is not read yet.
    """
    words = f"Slice {done} of {number}" if number else "Reading the file"
    return (
        f'<div class="mb-working" role="status"><p class="mb-name">{escape(name)}</p><p>{words}</p>'
        f'<progress max="{max(1, number)}" value="{done}" aria-label="Slices done"></progress>'
        '<p><button type="button" data-cancel>Cancel</button></p></div>'
    )


def cancelled() -> str:
    """What stands where the result would have been."""
    return '<div class="mb-empty" role="status"><p>Cancelled.</p><p>Choose a file, or try an example.</p></div>'


def refused(name: str, code: str, message: str) -> str:
    """Why there is no result, and what to do."""
    way = WAYS_OUT.get(code, "Give another file.")
    return (
        f'<div class="mb-refused" role="alert"><h2>This cannot be used</h2><p class="mb-name">{escape(name)}</p>'
        f"<p>{escape(_sentence(message))} {escape(way)}</p><p><code>{escape(code)}</code></p></div>"
    )


def answer(result: Result, rendered: str = "") -> str:
    """Class or size, bars, and warnings.

    Args:
        result: of a session.
        rendered: what a synthetic example was made to show; empty for other files.
    """
    prediction, number = result.prediction, ""
    title = in_words(prediction.label)
    if prediction.status == ABSTAINED:
        title, body = "No class is given", _reason(result)
    elif result.inputs:
        title = _title(result)
        number = f"{prediction.certainty:.1%}" if title == in_words(prediction.label) else ""
        body = f"{_set(result)}{_bars(prediction.values)}{_of_volume(result)}"
    else:
        number, body = _size(prediction.values), _spacing(result)
    heading = f"<h2>{escape(title[:1].upper() + title[1:])}</h2>"
    if number:
        heading = f'<div class="mb-title">{heading}<p class="mb-figure">{escape(number)}</p></div>'
    return (
        f'<div class="mb-answer" role="status"><p class="mb-name">{escape(prediction.path)}</p>'
        f'<p class="mb-kind">{escape(_kind(result))}</p>{_synthetic(prediction.path, rendered)}'
        f"{heading}{body}{_warnings(prediction.warnings)}</div>"
    )


def figure(result: Result, index: int, layer: np.ndarray | None, caption: str) -> str:
    """A slice, and beside it the same slice under a layer whose opacity the visitor chooses.

    Args:
        result: whose slice it is.
        index: among those that are shown.
        layer: uint8 RGBA (H, W, 4); None: there is nothing to be shown over the slice.
        caption: what the layer shows.
    """
    gray = result.grays[index]
    ratio = f"{gray.shape[1]} / {gray.shape[0] * result.aspect:.4g}"
    place = f"Slice {result.positions[index]}" if result.kind == "volume" else "Slice"
    plain = (
        f'<figure class="mb-plain"><div style="aspect-ratio: {ratio}">{picture(gray, place)}</div>'
        f"<figcaption>{escape(place)}</figcaption></figure>"
    )
    if layer is None:
        return f'<div class="mb-pictures">{plain}</div>'
    below, above = picture(gray, ""), picture(layer, caption, "mb-layer")
    return (
        f'<div class="mb-pictures">{plain}'
        f'<figure><div style="aspect-ratio: {ratio}">{below}{above}</div><figcaption>{escape(caption)}</figcaption>'
        "</figure></div>"
    )


def caption_of(result: Result, method: str | None) -> str:
    """What the layer over the slices shows."""
    if result.prediction.status == ABSTAINED:
        return ""
    if result.inputs:
        return f"{METHOD_NAMES[method or 'gradcam']} for {in_words(result.prediction.label)}"
    return "Tumor mask" if result.prediction.label == "tumor" else "No tumor was found"


def download(name: str, kind: str, content: bytes, words: str) -> str:
    """A link that saves a file; the file is inside the page, so no address serves it."""
    data = base64.b64encode(content).decode()
    return f'<a class="mb-save" download="{escape(name)}" href="data:{kind};base64,{data}">{escape(words)}</a>'


def examples(shown: Sequence[tuple[str, np.ndarray]]) -> str:
    """Buttons with a synthetic image each; empty where there are none.

    Args:
        shown: words and uint8 (H, W).
    """
    if not shown:
        return ""
    buttons = "".join(
        f'<button type="button" data-example="{number}">{picture(image, "")}<span>{escape(words)}</span></button>'
        for number, (words, image) in enumerate(shown)
    )
    return (
        f'<div class="mb-examples"><h3>Synthetic examples, named after what was rendered</h3><div>{buttons}</div></div>'
    )


def _synthetic(path: str, rendered: str) -> str:
    """That a picture is synthetic; nothing of others."""
    if not path.startswith(DEMO_PREFIX):
        return ""
    shown = f"Rendered as: {escape(rendered)}. " if rendered else ""
    return f'<p class="mb-synthetic"><strong>{SYNTHETIC}</strong> {shown}{MAY_BE_WRONG}</p>'


def _kind(result: Result) -> str:
    """What the case is: a series of so many files, and of which sequence."""
    what = f"Series of {result.files} files" if result.files > 1 else result.kind.capitalize()
    return ", ".join(filter(None, [what, SEQUENCES.get(result.sequence, result.sequence)]))


def _reason(result: Result) -> str:
    """Why there is no class; what the network computed is there for who opens it."""
    values, code = result.prediction.values, result.prediction.code
    return (
        f"<p>{escape(reason(code))}</p><p><code>{escape(code)}</code></p>"
        "<details><summary>What the network computed anyway</summary>"
        f"{_set(result)}{_bars(values)}{_of_volume(result)}</details>"
    )


def _title(result: Result) -> str:
    """The class, or the classes that cannot be ruled out."""
    classes = _classes_of(result)
    return either([in_words(name) for name in classes]) if len(classes) > 1 else in_words(result.prediction.label)


def _set(result: Result) -> str:
    """What the set of classes means; nothing where there is none."""
    if result.coverage is None:
        return ""
    classes = _classes_of(result)
    if not classes:
        words = "No class is probable enough."
    elif len(classes) == 1:
        words = "The network finds the other classes unlikely."
    else:
        words = "None of these classes can be ruled out."
    return (
        f'<p class="mb-note">{words} For pictures like those that the network was checked on, the true class is among '
        f"those that are left in {result.coverage:.0%} of the cases.</p>"
    )


def _classes_of(result: Result) -> list[str]:
    cell = result.prediction.values.get("set", "")
    return cell.split(SET_SEPARATOR) if cell else []


def _bars(values: Any) -> str:
    rows = []
    shares = {key.removeprefix("prob_"): float(own) for key, own in values.items() if key.startswith("prob_")}
    colors = colors_of(list(shares))
    for name, share in shares.items():
        words = escape(in_words(name))
        rows.append(
            f'<div class="mb-bar"><span>{words}</span><span class="mb-track"><span style="width: {share:.2%}; '
            f'background: {colors[name]}"></span></span><span class="mb-share">{share:.1%}</span></div>'
        )
    return f'<div class="mb-bars" aria-label="Probability of each class">{"".join(rows)}</div>'


def _of_volume(result: Result) -> str:
    if result.kind != "volume":
        return ""
    values = result.prediction.values
    agreement = f"{float(values['agreement']):.0%}"
    return (
        f'<p class="mb-note">{values["slices"]} slices with enough head; {agreement} of them agree; '
        f"slice {values['deciding_slice']} speaks most clearly.</p>"
    )


def _size(values: Any) -> str:
    if "tumor_volume_ml" in values:
        return f"{float(values['tumor_volume_ml']):.1f} mL"
    if "tumor_area_mm2" in values:
        return f"{float(values['tumor_area_mm2']):.0f} mm²"
    return f"{values['tumor_pixels']:,} pixels"


def _spacing(result: Result) -> str:
    if result.spacing_mm is None:
        return ""
    sides = " x ".join(f"{side:.3g}" for side in result.spacing_mm)
    return f'<p class="mb-note">{result.prediction.values["tumor_pixels"]:,} pixels of {sides} mm</p>'


def _warnings(codes: Sequence[str]) -> str:
    if not codes:
        return ""
    lines = "".join(f"<li>{escape(reason(code))}</li>" for code in codes)
    return f'<ul class="mb-warnings" aria-label="Warnings">{lines}</ul>'


def _sentence(message: str) -> str:
    text = message[:1].upper() + message[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
