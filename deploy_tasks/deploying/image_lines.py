"""Describes an image in lines for people: its digest, its commit, when and how it ran."""

from __future__ import annotations

from .. import images
from ..git import counted
from ..invocation.work import Work
from ..state import history
from ..state.records import Ran, Record


def plan_line(image: Record | Ran, *facts: str, replicas: int | None) -> str:
    """The image in a line of a plan: `0123456789ab, commit 1234567, replicas 2`."""
    texts = [digits(image), *facts, "" if replicas is None else f"replicas {replicas}"]
    return ", ".join(text for text in texts if text)


def digits(image: Record | Ran) -> str:
    """The first 12 digits of the digest; of an image without one, its name."""
    if image.build_id and images.DIGEST.fullmatch(image.build_id):
        return image.build_id.removeprefix("sha256:")[:12]
    return image.build_id or image.image_name or "an unknown image"  # with `--dry`, build_id is a placeholder


def age(work: Work, image: Record) -> str:
    """How the image relates to HEAD: people must see which code they deploy. "" if it is not known."""
    if image.dirty or not images.is_commit(image.git_ref):
        source = history.source(image)
        return f"built from {source}" if source else ""
    commit, between = image.git_ref[:7], work.checkout.since(image.git_ref)
    if between is None:
        trouble = work.checkout.trouble if work.checkout.commit is None else None
        return f"built from {commit}, {trouble or 'which is not in this checkout'}"
    if between.only_in_one:
        return f"built from {commit}, which is not in the history of HEAD"
    if since := between.only_in_other:
        return f"built {counted(len(since))} ago ({commit} → HEAD {since[0][:7]})"
    return f"built from HEAD ({commit})"


def when(image: Ran) -> str:
    """When and by whom it was deployed, after a comma; "" if it is not known."""
    return f", deployed {image.deployed_at} by {image.deployed_by}" if image.deployed_by else ""


def how_known(image: Ran) -> str:
    """What is not known about how it ran; "" if all but the values of variables is known."""
    if image.deploy_config:
        return ""
    if image.replicas is None:
        return "how it ran is not known, so it gets the current settings"
    return f"how it ran is known only in part: replicas {image.replicas}; the rest gets the current settings"


def commit_cell(image: Record | Ran) -> str:
    """What an image was built from, in a table."""
    return f"{images.short_ref(image.git_ref or '')}{' dirty' if image.dirty else ''}"
