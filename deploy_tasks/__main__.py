"""`python -m deploy_tasks` and the console script `deploy-tasks`."""

import gc
import sys


def main() -> None:
    """Runs the tasks that the command line names, and exits with their exit code."""
    try:
        # Loaded here, so that Ctrl-C while it is loaded is one line, too.
        from .program import program

        program.run()
    except KeyboardInterrupt:
        _stopped()
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):  # Ctrl-C before a task, of which Invoke makes exit code 1
            _stopped()
        raise
    finally:
        # Else Python searches all modules for garbage before it goes, a tenth of the time that a deploy takes. In this
        # process there is no object of anybody else's that this would cost its end.
        gc.freeze()


def _stopped() -> None:
    print("stopped; nothing was started", file=sys.stderr)  # noqa: T201 - what tells things may not be loaded
    sys.exit(130)


if __name__ == "__main__":
    # `python -m` looks for modules in the current folder first: a repository's invoke.py would be run.
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        del sys.path[0]
    main()
