"""The sandbox's images on disk. What the registry answers is in tests/contract/test_registry.py."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy_tasks.server.interfaces import Refused
from deploy_tasks.server.memory import store as module
from deploy_tasks.server.memory.store import Store
from tests.registries import MANIFEST, digest_of, image


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_a_tag_that_moves_is_never_missing_though_the_image_that_it_leaves_is_deleted(store: Store) -> None:
    store.put_blob("busy", b"{}")
    old, new = (image(digest_of(b"{}"), layers=[], annotations={"version": version}) for version in ("1", "2"))
    store.put_manifest("busy", "v1", old, MANIFEST)
    moved = threading.Event()

    def read() -> None:
        while not moved.is_set():
            assert store.manifest("busy", "v1").content in (old, new)

    def move() -> None:
        try:
            for _ in range(50):
                for left, reached in ((old, new), (new, old)):
                    store.put_manifest("busy", "v1", reached, MANIFEST)
                    store.delete_manifest("busy", digest_of(left))
        finally:
            moved.set()

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(read), pool.submit(read), pool.submit(move)]:
            done.result()


def test_no_chunk_gets_into_a_blob_once_its_digest_is_computed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = store.start_upload("chunks")
    store.append(upload, b"whole")
    computed = module._digest_of_file

    def add_meanwhile(path: Path, algorithm: str) -> str:
        digest = computed(path, algorithm)
        with pytest.raises(Refused, match="there is no such upload"):
            store.append(upload, b", and more")
        return digest

    monkeypatch.setattr(module, "_digest_of_file", add_meanwhile)
    store.finish_upload("chunks", upload, digest_of(b"whole"))
    assert store.blob("chunks", digest_of(b"whole")).read_bytes() == b"whole"


def test_nothing_is_left_of_an_upload_with_another_digest(store: Store, tmp_path: Path) -> None:
    upload = store.start_upload("wrong")
    store.append(upload, b"these")
    with pytest.raises(Refused, match="the digest of these bytes is"):
        store.finish_upload("wrong", upload, digest_of(b"other"))
    assert list((tmp_path / "uploads").iterdir()) == list((tmp_path / "blobs").iterdir()) == []


def test_images_outlive_the_process(store: Store, tmp_path: Path) -> None:
    store.put_blob("kept", b"{}")
    manifest = image(digest_of(b"{}"), layers=[])
    store.put_manifest("kept", "v1", manifest, MANIFEST)
    again = Store(tmp_path)
    assert again.manifest("kept", "v1") == (digest_of(manifest), MANIFEST, manifest)
    assert again.names() == ["kept"]
