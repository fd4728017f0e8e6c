"""`python -m deploy_tasks` and the console script `deploy-tasks`."""

import gc
import sys


def main() -> None:
    """Runs the tasks that the command line names, and exits with their exit code."""
    # With Python's default of 700, it would search for garbage dozens of times while it loads modules, and find none.
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
        # Otherwise Python also searches all modules for garbage at exit. Both searches together are a tenth of a
        # deploy's time. Only this program runs in the process, and it needs neither.
        gc.freeze()


if __name__ == "__main__":
    # `python -m` searches the current folder first, and would run a repository's invoke.py.
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        del sys.path[0]
    main()
