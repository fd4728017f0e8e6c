"""`python -m deploy_tasks` and the console script `deploy-tasks`: the tasks where there is no `tasks.py`."""

from contextlib import suppress
from pathlib import Path

from invoke.exceptions import Exit
from invoke.program import Program
from invoke.vendor.yaml import YAMLError

from . import __version__
from .settings import project_root
from .tasks import ns


class _DeployProgram(Program):
    def parse_core(self, argv: list[str] | None) -> None:
        try:
            super().parse_core(argv)
        except ValueError as error:
            # Invoke ends in a traceback where a number of its own, as in `-T soon`, is none.
            raise Exit(f"a flag of Invoke's own has a value that it cannot have ({error})", code=2) from None

    def update_config(self, merge: bool = True) -> None:
        # Invoke reads a project's invoke.yaml only along with its tasks.py, which there is none of here.
        try:
            with suppress(FileNotFoundError):  # a folder that is gone has no project; the tasks say so
                self.config.set_project_location(project_root(Path.cwd()))
                self.config.load_project(merge=False)
            super().update_config(merge)
        except YAMLError as error:
            said = " ".join(str(error).split())
            raise Exit(f"the Invoke configuration is not YAML: {said}; nothing was sent", code=2) from None


program = _DeployProgram(name="deploy-tasks", binary="deploy-tasks", namespace=ns, version=__version__)


def main() -> None:
    """Runs the tasks that the command line names, and exits with their exit code."""
    program.run()


if __name__ == "__main__":
    main()
