"""Two sandboxes as two environments of a project, staging and production, each with its own key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.project import Project, ok
from tests.sandboxes import SandboxProcess

_CONFIG = """deploy:
  app: shop
  port: 3000
  environments:
    staging: {{api_url: {staging.url}, registry: "{staging.registry}", replicas: 1}}
    production: {{api_url: {production.url}, registry: "{production.registry}", replicas: 3{domain}}}
"""


@dataclass(frozen=True)
class Clusters:
    staging: SandboxProcess
    production: SandboxProcess

    def joined(self, project: Project, apps: Sequence[str] = ()) -> Clusters:
        """Nothing runs in either; `project` is set up for both, and has their keys in the shell."""
        domain = "" if apps else ", domain: shop.example.com"
        text = _CONFIG.format(staging=self.staging, production=self.production, domain=domain)
        if apps:
            text = text.replace("  app: shop\n", f"  apps: {{{', '.join(f'{app}: {{}}' for app in apps)}}}\n")
        project.write("invoke.yaml", text)
        project.environment.update(
            DEPLOY_API_KEY_STAGING=self.staging.key, DEPLOY_API_KEY_PRODUCTION=self.production.key
        )
        for sandbox in (self.staging, self.production):
            for app in ("shop", *apps):
                sandbox.call("DELETE", f"/api/apps/apps/{app}")
        project.commit("environments")
        project.push()
        self.forget()
        return self

    def forget(self) -> None:
        self.staging.forget()
        self.production.forget()


def deployed(project: Project, environment: str, *subjects: str) -> str:
    """Commits all of `subjects`, deploys the last one; returns its digest."""
    for subject in subjects:
        project.write("page.html", subject)
        project.commit(subject)
    project.push()
    return ok(project.invoke("deploy", "--environment", environment)).stdout.split()[0]


def two_clusters(folder: Path, *, is_registry_shared: bool) -> Iterator[Clusters]:
    """Starts two clusters, and stops them at the end. They have one registry, or each has its own."""
    staging = SandboxProcess(folder / "staging")
    shared = ("--registry", staging.registry) if is_registry_shared else ()
    production = SandboxProcess(folder / "production", *shared)
    yield Clusters(staging, production)
    production.stop()
    staging.stop()
