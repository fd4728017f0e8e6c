"""Prints the lowest version that pyproject.toml allows of each package that users install, as constraints for pip."""

from __future__ import annotations

from importlib.metadata import requires

from packaging.requirements import Requirement


def main() -> None:
    for text in requires("deploy-tasks") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": "sandbox"}):
            continue  # what only those who work on it install
        for bound in requirement.specifier:
            if bound.operator == ">=":
                print(f"{requirement.name}=={bound.version}")  # noqa: T201 - the result


if __name__ == "__main__":
    main()
