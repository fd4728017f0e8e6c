"""The grammar of names, tags, digests and references."""

from __future__ import annotations

import pytest

from deploy_tasks import images

HEX = 64 * "a"


@pytest.mark.parametrize("name", ["app", "team/app", "a.b_c__d--e/f", "0", "a" * 255])
def test_a_good_image_name_is_taken_as_it_is(name: str) -> None:
    assert images.image_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "..", "../../build", "Team/App", "a//b", "a\n", "host:5000/app", "/a", "a/", "a___b", "-a", "a" * 256]
)
def test_what_is_no_image_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not an image name"):
        images.image_name(name)


@pytest.mark.parametrize("tag", ["v1", "_x", "A.b-c", "a" * 128])
def test_a_good_tag_is_taken_as_it_is(tag: str) -> None:
    assert images.tag(tag) == tag


@pytest.mark.parametrize("tag", ["", "-v", ".v", "a" * 129, "$(id)", "v1\n", "a/b"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is not an image tag"):
        images.tag(tag)


def test_a_whole_digest_is_taken_as_it_is() -> None:
    assert images.digest(f"sha256:{HEX}") == f"sha256:{HEX}"


@pytest.mark.parametrize(
    "digest",
    [
        "",
        HEX,
        f"SHA256:{HEX}",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX[1:]}",
        f"sha256:{HEX}a",
        f"sha512:{HEX}{HEX}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
    ],
)
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(ValueError, match="is not a buildId"):
        images.digest(digest)


@pytest.mark.parametrize("label", ["", "../x", "A", "-a", "a-", "a.b", "a" * 64, "a\n"])
def test_what_is_no_kubernetes_name_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match="is not a Kubernetes name"):
        images.label(label)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("app", (None, "app", None, None)),
        ("app:v1", (None, "app", "v1", None)),
        ("team/app:v1", (None, "team/app", "v1", None)),
        ("registry.example.com/team/app:v1", ("registry.example.com", "team/app", "v1", None)),
        ("localhost/app", ("localhost", "app", None, None)),
        ("127.0.0.1:5000/app:v1", ("127.0.0.1:5000", "app", "v1", None)),
        (f"h:1/app@sha256:{HEX}", ("h:1", "app", None, f"sha256:{HEX}")),
        (f"h:1/app:v1@sha256:{HEX}", ("h:1", "app", "v1", f"sha256:{HEX}")),
    ],
)
def test_a_reference_is_taken_apart(text: str, parts: tuple[str | None, ...]) -> None:
    assert images.parse(text) == parts


@pytest.mark.parametrize("text", ["", "h:1/", "app:", "app:-v", "h:1/App", "app@sha256:1", "a b", "app:v1:v2"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        images.parse(text)


def test_a_pinned_reference_has_the_digest_behind_the_name() -> None:
    assert images.pinned("h:1", "team/app", f"sha256:{HEX}") == f"h:1/team/app@sha256:{HEX}"


@pytest.mark.parametrize(
    ("ref", "tag"), [("main", "main"), ("feature/x", "feature-x"), ("../up", "up"), ("v1+2", "v1-2"), ("/", None)]
)
def test_a_tag_is_made_from_a_ref(ref: str, tag: str | None) -> None:
    assert images.as_tag(ref) == tag


@pytest.mark.parametrize(("ref", "is_one"), [(40 * "a", True), (64 * "a", True), (41 * "a", False), (40 * "A", False)])
def test_a_commit_has_40_digits_or_64(ref: str, is_one: bool) -> None:
    assert images.is_commit(ref) is is_one


@pytest.mark.parametrize(("ref", "shown"), [(40 * "a", 7 * "a"), ("feature/checkout", "feature/checkout")])
def test_only_a_commit_is_shortened(ref: str, shown: str) -> None:
    assert images.short_ref(ref) == shown


@pytest.mark.parametrize(
    ("name", "label"),
    [("My_App", "my-app"), ("a.b", "a-b"), ("x" * 70, "x" * 63), ("_", None), (62 * "x" + "-y", 62 * "x")],
)
def test_a_kubernetes_name_is_made_from_a_repositorys(name: str, label: str | None) -> None:
    assert images.as_label(name) == label
