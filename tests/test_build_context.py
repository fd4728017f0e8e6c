"""Which files with secrets a build context would put into an image, and what is said of them."""

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
def test_a_file_that_holds_secrets_is_refused_with_the_line_that_keeps_it_out(
    tmp_path: Path, name: str, content: str, rule: str
) -> None:
    write(tmp_path, name, content)
    with pytest.raises(SettingsError) as error:
        build_context.check(tmp_path, [])
    assert f"Add to {tmp_path}/.dockerignore: {rule}, or pass --allow-secrets-in-context" in str(error.value)
    build_context.check(tmp_path, [write(tmp_path, ".dockerignore", rule)])


@pytest.mark.parametrize(
    ("name", "content"), [("prod.env", "A=b"), ("tls/server.key", PRIVATE), ("tls/server.pem", PRIVATE)]
)
def test_a_file_that_often_holds_secrets_is_warned_of(
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
def test_a_file_that_holds_no_secret_is_passed_over(
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
    ("rules", "looks"), [("node_modules", False), ("node_modules\n!node_modules/kept", True), ("dist", True)]
)
def test_packages_that_are_left_out_are_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: str, looks: bool
) -> None:
    write(tmp_path, "node_modules/tool/index.js")
    listed: list[str] = []
    scandir = os.scandir

    def taken_down(path: str) -> object:
        listed.append(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", taken_down)
    build_context.check(tmp_path, [write(tmp_path, ".dockerignore", rules)])
    assert any(path.endswith("node_modules/tool") for path in listed) is looks
