"""Runs the `run:` steps of a GitHub Actions workflow, each job in a clone of its own, as a runner does."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.project import Project

SECONDS_A_STEP = 120


def run_workflow(workflow: Mapping[str, Any], project: Project, folder: Path, known: Mapping[str, str]) -> list[str]:
    """Runs all jobs in the order they stand, in clones of the origin of `project`; `known` are values of `${{ }}`.
    Returns what each step printed. A step that fails fails the test."""
    values, printed = dict(known), []
    for name, job in workflow["jobs"].items():
        clone = folder / name
        project.git("clone", "--quiet", str(project.origin), str(clone))
        own = {key: _with(values, text) for key, text in job.get("env", {}).items()}
        for number, step in enumerate(job["steps"]):
            if "run" not in step:
                continue
            output, summary = folder / f"{name}-{number}.output", folder / f"{name}-{number}.summary"
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", _with(values, step["run"])],
                cwd=clone,
                env={
                    **project.environment,
                    **own,
                    **{key: _with(values, text) for key, text in step.get("env", {}).items()},
                    **{"GITHUB_ACTIONS": "true", "GITHUB_ACTOR": "ann", "CI": "true"},
                    **{"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)},
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=SECONDS_A_STEP,
                check=False,
            )
            assert done.returncode == 0, f"{name}: {step['run']}\n{done.stdout}"
            printed.append(done.stdout)
            if output.exists():
                pairs = (line.split("=", 1) for line in output.read_text().splitlines())
                values.update({f"steps.{step.get('id')}.outputs.{key}": value for key, value in pairs})
        values.update(
            {f"needs.{name}.outputs.{key}": _with(values, text) for key, text in job.get("outputs", {}).items()}
        )
    return printed


def _with(values: Mapping[str, str], text: str) -> str:
    """`text` with the values of its `${{ }}`; KeyError where there is none."""
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: values[found[1]], text)
