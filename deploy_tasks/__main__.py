"""`python -m deploy_tasks` and the console script `deploy-tasks`."""

import gc
import sys


def main() -> None:
    """Runs the tasks that the command line names, and exits with their exit code."""
    # Python's usual 700 makes it search for garbage dozens of times while it loads modules, which leave none.
    gc.set_threshold(50_000)
    try:
        # Imported here, so that Ctrl-C during the import is one line, too.
        from .program import program

        program.run()
    except (KeyboardInterrupt, SystemExit) as ended:
        # Ctrl-C before a task, which Invoke turns into exit code 1, or during the import.
        if isinstance(ended, KeyboardInterrupt) or isinstance(ended.__context__, KeyboardInterrupt):
            print("stopped. Nothing was started", file=sys.stderr)  # noqa: T201 - the console may not be imported
            sys.exit(130)
        raise
    finally:
        # Otherwise Python searches all modules for garbage at its end as well. Together both searches are a tenth of
        # what a deploy takes. No other program has objects in this process that need them.
        gc.freeze()


if __name__ == "__main__":
    # `python -m` looks for modules in the current folder first: a repository's invoke.py would be run.
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        del sys.path[0]
    main()
