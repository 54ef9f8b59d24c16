"""What image verbs have done, for `rundlet events`: podman's words for it in the run root's journal."""

import os


def note_image(run_root: str, action: str, image_id: str, name: str = "") -> None:
    """`action` is pull, push, tag, untag, remove, save or loadfromarchive; nothing happens without a run root."""
    from rundlet.engine.journal import Journal  # few commands change anything

    if os.path.isdir(run_root):
        Journal(run_root).note("image", action, image_id.removeprefix("sha256:"), name)
