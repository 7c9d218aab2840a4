"""The classes, their order, their colors, and the folder names under which the public sets keep them."""

CLASS_NAMES = ("glioma", "meningioma", "notumor", "pituitary")
"""Order of logits, probabilities, table columns and figures, everywhere."""

CLASS_COLORS = {
    "glioma": "#D55E00",
    "meningioma": "#0072B2",
    "notumor": "#009E73",
    "pituitary": "#CC79A7",
}
"""Okabe and Ito's palette (https://jfly.uni-koeln.de/color/): distinguishable by color-blind readers."""

FOLDER_NAMES = {
    "glioma": ("glioma", "glioma_tumor"),
    "meningioma": ("meningioma", "meningioma_tumor"),
    "notumor": ("notumor", "no_tumor", "no", "normal", "healthy"),
    "pituitary": ("pituitary", "pituitary_tumor", "pituitary_adenoma"),
}
"""Folder names of the public sets (Nickparvar, SARTAJ, Br35H and their mirrors), compared by `class_of_folder`."""


def class_of_folder(folder_name: str) -> str | None:
    """The class that a folder's name stands for, or None.

    Case, spaces, hyphens and underscores do not matter: `No Tumor`, `no-tumor` and `notumor` are one.
    """
    wanted = _squeezed(folder_name)
    for class_name, names in FOLDER_NAMES.items():
        if any(_squeezed(name) == wanted for name in names):
            return class_name
    return None


def _squeezed(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
