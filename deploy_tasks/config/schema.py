"""The table of settings: one row each. A new setting is a new row here and a typed attribute in `Settings`.

A setting is `deploy.<key>` in the configuration and `DEPLOY_<KEY>` in the shell and in `.env` files; for one
environment it is `deploy.environments.<name>.<key>` and `DEPLOY_<KEY>_<NAME>`. If a task has a parameter of this name,
that is its flag. `invoke pages` generates docs/settings.md and .env.example from this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from .. import images
from ..deploy_config import DEFAULT_APP_CLASS
from . import values as parse

_REGISTRY = "registry.kubernetes.crianex.com"


class Setting(NamedTuple):
    """One row of the table."""

    key: str
    parse: Callable[[object], Any]
    """Parses text, or a value from Python or YAML; raises ValueError. The attribute of `Settings` has its type."""
    default: object
    help: str
    secret: bool = False
    """Whether it is redacted in all output and has no flag."""
    is_global: bool = False
    """Whether it is for the whole checkout, and not allowed under `deploy.apps.<name>`."""
    only_configured: bool = False
    """Whether only the configuration can have it, without a flag or a variable: it is a list or a table."""
    joined: bool = False
    """Whether the entries of an app or an environment are added to those of `deploy.<key>` and do not replace them."""
    of_environments: bool = False
    """Whether it is allowed only in an environment."""
    committed: bool = False
    """Whether it belongs in a committed file: it is the same for everyone who deploys, and git may not know it."""
    parameter: str = ""
    """The name of the tasks' parameter for it (default: `key`)."""
    # Derived from the fields above.
    flag: str = ""
    variable: str = ""
    """`DEPLOY_<KEY>`; "" if only the configuration has it."""


_for_all = partial(Setting, is_global=True)
_in_config = partial(Setting, only_configured=True)
_joined = partial(_in_config, joined=True)
_committed = partial(Setting, committed=True)
_of_environments = partial(_in_config, of_environments=True)
_LABEL = partial(parse.as_text, check=images.label)
_IMAGE_NAME = partial(parse.as_text, check=images.image_name)
_TAG = partial(parse.as_text, check=images.tag)
_PORT = partial(parse.whole_number, "a port", 1, 65535)
_REPLICAS = partial(parse.whole_number, "a number of replicas", 0, 1000)
_JOBS = partial(parse.whole_number, "a number of apps", 1, 1000)
_NAMES = parse.variable_names
_ROWS = (
    _for_all(
        "environment", str, None, "which environment: the name of a cluster under `deploy.environments`; empty: none"
    ),
    _for_all("state_file", parse.file_path, ".deploy/build-id.json", "the file that records the digest"),
    _for_all("api_url", parse.api_url, None, "URL of the Deploy API: https, or http on this machine"),
    _for_all("api_key", parse.api_key, None, "your key for the API (header X-API-Key)", secret=True),
    _for_all("api_timeout", parse.seconds, 30.0, "seconds that one request may take"),
    _for_all("registry", parse.registry_host, _REGISTRY, "the registry to push images to and deploy from"),
    _for_all("registry_username", parse.printable, None, "the user that `local` logs in as"),
    _for_all(
        "registry_password", parse.secret, None, "the user's password; the engine gets it over stdin", secret=True
    ),
    _for_all("git_token", parse.secret, None, "lets the cluster clone a private repository", secret=True),
    _committed(
        "app", parse.app_names, None, "the app's name in the cluster; unset: that of the repository or sub-folder"
    ),
    Setting("namespace", _LABEL, None, "unset: that of the app class (apps, non-business-apps)"),
    Setting("image_name", _IMAGE_NAME, None, "the repository in the registry; unset: the app's name"),
    Setting("app_class", parse.app_class, DEFAULT_APP_CLASS, "which nodes run the app: business or non-business"),
    _committed("port", _PORT, None, "the port that the app listens on; `reuse` needs it"),
    Setting("replicas", _REPLICAS, None, "how many replicas run; unset: the API's default"),
    Setting("domain", parse.domains, (), "the app's domains, separated by commas; wildcards are allowed"),
    Setting("health_path", parse.path_on_site, None, "a path that answers 2xx once the app is healthy"),
    Setting("tls", parse.switch, True, "whether the domains are served over TLS"),
    _for_all("docker", parse.not_a_flag, "docker", "the container engine's program: docker or podman"),
    Setting(
        "platform",
        parse.platforms,
        "linux/amd64",
        "the cluster's platform; several, separated by commas, make an index",
    ),
    Setting("dockerfile", parse.not_a_flag, "Dockerfile", "the Dockerfile, from the project's root"),
    Setting("build_context", parse.not_a_flag, ".", "the build context, from the project's root"),
    Setting(
        "repo_url", parse.repo_url, None, "the repository that the cluster clones; unset: the git remote, as https"
    ),
    Setting(
        "git_ref", parse.not_a_flag, None, "the commit, branch or tag that the cluster builds; unset: HEAD's commit"
    ),
    Setting("image_tag", _TAG, None, "the image's tag; unset: the commit (`build`), or a new one (`local`)"),
    Setting(
        "builder", parse.not_a_flag, None, "a buildx builder for `local`: remote, on Kubernetes, for several platforms"
    ),
    Setting(
        "build_args",
        parse.build_args,
        (),
        "for `local`: KEY=VALUE, or KEY as in `env_from`; separated by commas",
        joined=True,
    ),
    Setting("timeout", parse.seconds, 1800.0, "seconds to wait for a build"),
    Setting("rollout_timeout", parse.seconds, 300.0, "seconds to wait until all replicas are ready"),
    Setting(
        "build_if_needed",
        parse.switch,
        False,
        "whether `build` skips a commit that is built already",
        parameter="if_needed",
    ),
    _for_all("lock_timeout", parse.seconds_or_zero, 0.0, "seconds to wait for another run; 0: fail at once"),
    _for_all("jobs", _JOBS, None, "how many apps run at once; unset: 12, or 2 for builds on this machine"),
    _joined("env", parse.environment, {}, "the app's variables: names and values"),
    _joined("env_from", _NAMES, (), "names of variables for it, with values from the shell or `.env`"),
    _joined("env_from_optional", _NAMES, (), "as `env_from`, but names without a value are left out"),
    _in_config("env_file", parse.file_path, None, "a `.env` file of the app; it overrides those at the root"),
    _joined("build_args_from", _NAMES, (), "for `local`: names of build args, with values as in `env_from`"),
    _in_config("ports", parse.ports, (), "instead of `port`: a list of tables with `port` and `name`"),
    _in_config(
        "metrics",
        parse.metrics,
        None,
        "where metrics are scraped: a table with `port`, `path`, `scrape_interval`, `scheme`",
    ),
    _of_environments(
        "protected", parse.switch, False, "for an environment: whether a person must confirm each build and deploy"
    ),
)
SETTINGS = tuple(
    row._replace(
        parameter=row.parameter or row.key,
        flag=f"--{(row.parameter or row.key).replace('_', '-')}",
        variable="" if row.only_configured else f"DEPLOY_{row.key.upper()}",
    )
    for row in _ROWS
)
BY_KEY = {row.key: row for row in SETTINGS}
WITH_VARIABLE = tuple(row for row in SETTINGS if not row.only_configured)
SECRETS = tuple(row for row in SETTINGS if row.secret)
JOINED = tuple(row for row in SETTINGS if row.joined)
OF_REGISTRY = ("registry", "registry_username", "registry_password")
DECIDES_CLUSTER = tuple(BY_KEY[key] for key in ("api_url", "api_key", *OF_REGISTRY))
"""The settings that decide which cluster a request reaches, and the credentials for it. With an environment, a general
source does not override them silently."""
SECRET_VARIABLE = re.compile(
    "(INVOKE_DEPLOY_ENVIRONMENTS_[A-Z0-9_]+_|(INVOKE_)?DEPLOY_)"
    f"({'|'.join(row.key.upper() for row in SECRETS)})(_[A-Z0-9_]+)?"
)
"""The names of variables for the kit's secrets, for all environments or for one, which need not be configured."""
NOT_GIVEN: tuple[object, ...] = (None, "", [], (), {})
"""Values that count as not given."""


def suffix_of(environment: str) -> str:
    """The suffix of variables that count for one environment only: `_PRODUCTION`."""
    return f"_{environment.upper().replace('-', '_')}"
