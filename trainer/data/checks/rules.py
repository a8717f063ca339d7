"""What is found wrong with data, and what then happens: one table for readers, checks, reports and the manual."""

from __future__ import annotations

from dataclasses import dataclass

POLICIES = ("fail", "fix", "skip")


@dataclass(frozen=True)
class Rule:
    """``level``: what it is where nobody asked for more: an ``error`` stops, a ``fix`` is made, a ``warning`` is told.

    ``fix``: what ``dataset.on_error=fix`` does instead; ``skip``: what ``=skip`` leaves out. Where it says nothing an
    error stays one.
    """

    level: str
    what: str
    fix: str = ""
    skip: str = ""

    def remedy(self, policy: str) -> str | None:
        """What is done about it under a policy; None where nothing is."""
        if self.level == "fix":
            return self.fix
        return {"fix": self.fix, "skip": self.skip or self.fix}.get(policy) or None


_IMAGE, _ANNOTATION = "the image is left out", "the annotation is left out"
_TAKEN = "taken out of train (out of val where the copy tests)"

RULES = {
    "image_missing": Rule("error", "an image file is not there", skip=_IMAGE),
    "image_linked": Rule("error", "an image is behind a link that leads out of the folder", skip=_IMAGE),
    "image_empty": Rule("error", "an image file has 0 bytes", skip=_IMAGE),
    "image_unreadable": Rule("error", "an image file is no image, or of a kind that OpenCV can't read", skip=_IMAGE),
    "image_huge": Rule("error", "an image's header names more pixels than are read (179 million)", skip=_IMAGE),
    "image_cut": Rule("error", "a JPEG or PNG file ends before the image does", skip=_IMAGE),
    "image_unlabelled": Rule("error", "an image has no mask (masks)", skip=_IMAGE),
    "size_differs": Rule(
        "error",
        "the annotations state another size than the file has",
        fix="the file's size counts, labels are cut at its edges",
        skip=_IMAGE,
    ),
    "image_twice": Rule("error", "an image file is listed twice", fix="the first entry counts"),
    "id_twice": Rule("error", "two images have the same id", skip="the later image is left out"),
    "annotation_invalid": Rule("error", "a box, polygon, RLE or keypoint can't be understood", skip="it is left out"),
    "annotation_unlisted": Rule("error", "an annotation is of an image that is not listed", skip=_ANNOTATION),
    "category_unknown": Rule("error", "an annotation is of a class that is not declared", skip=_ANNOTATION),
    "box_outside": Rule("fix", "a box reaches more than 1 px out of its image", fix="cut at the edge"),
    "box_degenerate": Rule("fix", "a box has no area inside its image", fix=_ANNOTATION),
    "polygon_short": Rule("fix", "a polygon has fewer than three points", fix="the polygon is left out"),
    "mask_empty": Rule("fix", "a mask covers no pixel, or nothing is given", fix=_ANNOTATION),
    "annotation_twice": Rule(
        "warning", "an image has the same object twice", fix="the first counts", skip="the first counts"
    ),
    "keypoint_outside": Rule("warning", "a keypoint is outside its box by more than a tenth of its longer side"),
    "category_empty": Rule("warning", "a class has no object in a split"),
    "split_unlabelled": Rule("warning", "no object is labelled in a split"),
    "same_content": Rule("warning", "images of a split have equal bytes"),
    "leak": Rule("warning", "images of two splits have equal bytes, or are the same file", fix=_TAKEN, skip=_TAKEN),
    "val_is_train": Rule("warning", "validation has no image that training hasn't"),
    "group_parted": Rule("warning", "the data set's own splits part a group of dataset.group_by"),
}  # fmt: skip


def rules_table() -> str:
    """The rules as the manual has them (Markdown)."""
    rows = [
        f"| `{name}` | {rule.what} | {rule.level} | {rule.fix} | {rule.skip or ('as fix' if rule.fix else '')} |"
        if rule.level != "fix"
        else f"| `{name}` | {rule.what} | {rule.level} | {rule.fix} | as always |"
        for name, rule in RULES.items()
    ]
    return "\n".join(
        ["| Rule | Found | Is | `on_error=fix` | `on_error=skip` |", "|---|---|---|---|---|", *rows]
    )
