"""Which files with secrets in a build context are refused, and which are warned of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy_tasks.engine import build_context
from deploy_tasks.errors import SettingsError


def write(context: Path, name: str, content: str | bytes = "x") -> Path:
    file = context / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


TOKEN = "//registry.npmjs.org/:_authToken=npm_s3cret\n"
PRIVATE = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        (".env", "A=b", "**/.env*"),
        ("web/.env.local", "A=b", "**/.env*"),
        (".envrc", "export A=b", "**/.env*"),
        (".ENV", "A=b", "**/.ENV"),
        ("node_modules/tool/.env", "A=b", "**/.env*"),
        ("a/node_modules/b/node_modules/c/.env.production", "A=b", "**/.env*"),
        (".netrc", "machine x", "**/.netrc"),
        (".pypirc", "[pypi]", "**/.pypirc"),
        (".git-credentials", "https://u:p@x", "**/.git-credentials"),
        ("keys/id_rsa", PRIVATE, "**/id_rsa"),
        ("keys/id_ed25519", PRIVATE, "**/id_ed25519"),
        (".npmrc", TOKEN, "**/.npmrc"),
        (".deploy/build-id.json", "{}", "**/.deploy"),
    ],
)
def test_a_file_that_holds_secrets_is_refused_with_the_line_that_excludes_it(
    tmp_path: Path, name: str, content: str, rule: str
) -> None:
    write(tmp_path, name, content)
    with pytest.raises(SettingsError) as error:
        build_context.check(tmp_path, [])
    assert error.value.effect == "Nothing was built"
    assert error.value.next == (f"Add to {tmp_path}/.dockerignore: {rule}, or pass --allow-secrets-in-context",)
    build_context.check(tmp_path, [write(tmp_path, ".dockerignore", rule)])


@pytest.mark.parametrize(
    ("name", "content"), [("prod.env", "A=b"), ("tls/server.key", PRIVATE), ("tls/server.pem", PRIVATE)]
)
def test_a_file_that_may_hold_a_secret_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    write(tmp_path, name, content)
    build_context.check(tmp_path, [])
    rule = f"**/{name.rpartition('/')[2]}"
    assert f"warning: {name} may hold a secret" in capsys.readouterr().err
    build_context.check(tmp_path, [write(tmp_path, ".dockerignore", rule)])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".env.example", "A="),
        (".ENV.SAMPLE", "A="),
        ("example.env", "A="),
        ("environment", "x"),
        (".npmrc", "engine-strict=true\n"),
        (".npmrc", "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n"),
        ("id_rsa.pub", "ssh-rsa AAAA"),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("node_modules/tls/test/server.key", PRIVATE),
        ("node_modules/tool/prod.env", "A=b"),
    ],
)
def test_a_file_without_a_secret_is_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    write(tmp_path, name, content)
    build_context.check(tmp_path, [])
    assert capsys.readouterr().err == ""


def test_an_ignore_file_in_latin_1_is_read(tmp_path: Path) -> None:
    write(tmp_path, ".env")
    name = os.fsdecode(b"caf\xe9")
    try:
        write(tmp_path, f"{name}/.envrc")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    ignore = write(tmp_path, ".dockerignore", b"# pr\xe9f\xe9rences\n.env\ncaf\xe9\n")
    build_context.check(tmp_path, [ignore])


@pytest.mark.parametrize(
    ("rules", "is_searched"), [("node_modules", False), ("node_modules\n!node_modules/kept", True), ("dist", True)]
)
def test_an_excluded_node_modules_is_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: str, is_searched: bool
) -> None:
    write(tmp_path, "node_modules/tool/index.js")
    listed: list[str] = []
    scandir = os.scandir

    def recorded(path: str) -> object:
        listed.append(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", recorded)
    build_context.check(tmp_path, [write(tmp_path, ".dockerignore", rules)])
    assert any(path.endswith("node_modules/tool") for path in listed) is is_searched
