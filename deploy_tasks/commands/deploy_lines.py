"""What a person sees of a deploy before it: what runs now, what is to run in its place, and what changes."""

from __future__ import annotations

from collections.abc import Iterator

from .. import images
from ..api.schemas import DeployRequest
from ..app_class import DEFAULT_APP_CLASS
from ..deploy_config import DeployConfig, differences
from ..invocation.work import Work
from ..state import history
from ..state.records import Ran, Record


def lines_of(work: Work, request: DeployRequest, image: Record, known: Record | None) -> Iterator[str]:
    """The deploy of `image` in lines: where it goes, `now`, `new` and `changes`. What is to be built yet has no digest,
    and so no line. `known` is what is known of the image, if anything is."""
    now, config = work.running(), request.deploy_config
    yield f"deploy {request.app} to {place(request)} in {work.settings.cluster}"
    if now.ran is None:
        yield f"  now: {now.why or 'nothing'}"
    else:
        ran = now.ran
        yield f"  now: {_joined(digits(ran), history.source(ran), _author(ran), _replicas(ran.deploy_config, ran))}"
        if not now.is_from_here:
            yield "  warning: what runs now was not deployed from here"
    if image.build_id is None and known is None:
        return
    yield f"  new: {_joined(digits(image), age(work, known), _replicas(config))}"
    if now.ran and now.ran.deploy_config and (changes := differences(now.ran.deploy_config, config)):
        yield f"  changes: {', '.join(changes)}"


def place(request: DeployRequest) -> str:
    return f"{request.namespace} ({request.deploy_config.app_class or DEFAULT_APP_CLASS} nodes)"


def digits(image: Record | Ran) -> str:
    """The first 12 digits of the digest; of an image without one, its name."""
    if images.DIGEST.fullmatch(image.build_id or ""):
        return str(image.build_id).removeprefix("sha256:")[:12]
    return image.build_id or image.image_name or "an unknown image"  # the former with `--dry`


def when(image: Ran) -> str:
    """When and by whom it was deployed, after a comma; "" if it is not known."""
    return f", deployed {image.deployed_at} by {image.deployed_by}" if image.deployed_by else ""


def how_known(image: Ran) -> str:
    """What is not known of how it ran; "" if everything is, but for the values of variables."""
    if image.deploy_config:
        return ""
    if image.replicas is None:
        return "how it ran is not known, so it gets the current settings"
    return f"how it ran is known only in part: replicas {image.replicas}; the rest gets the current settings"


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _author(image: Ran) -> str:
    return f"by {image.deployed_by} at {image.deployed_at}" if image.deployed_by else ""


def _replicas(config: DeployConfig | None, ran: Ran | None = None) -> str:
    replicas = config.replicas if config and config.replicas is not None else ran and ran.replicas
    return "" if replicas is None else f"replicas {replicas}"


def age(work: Work, known: Record | None) -> str:
    """How the image relates to HEAD: people must see which code they deploy."""
    if known is None or known.build_id is None:
        return ""
    if known.dirty or not images.is_commit(known.git_ref):
        source = history.source(known)
        return f"built from {source}" if source else ""
    if age := work.checkout.age(known.git_ref):
        return age
    trouble = work.checkout.trouble if work.checkout.commit is None else None
    return f"built from {known.git_ref[:7]}, {trouble or 'which is not in this checkout'}"
