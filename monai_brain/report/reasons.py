"""Why a case gets no class, in words that a physician understands."""

ABSTENTIONS = {
    "not_a_head": "The picture does not look like an MR slice of a head.",
    "other_sequence": "The picture is or looks like another MR sequence than T1 with contrast, which the network was "
    "trained on. On other sequences its class follows the sequence more than the tumor.",
    "skull_stripped": "The skull was removed from this head. The network was trained on heads with skull.",
    "unlike_training": "The picture is unlike those that the network was trained on, so its class cannot be trusted.",
    "empty_set": "No class is probable enough at the coverage that was asked for.",
}
"""By the code of an abstention, or of the warning where a class was given anyway."""
