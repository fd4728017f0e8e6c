"""`rollback`: deploys what ran before, with the config that it ran with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice

from msgspec import structs

from ..api.schemas import RollbackRequest
from ..config.settings import Settings
from ..config.sources import of_flag
from ..config.values import whole_number
from ..deploy_config import DeployConfig, merged, names_that_change
from ..errors import ChangedMeanwhile, SettingsError
from ..invocation.command import Command
from ..invocation.work import Work
from ..state import history
from ..state.records import Ran
from ..state.what_ran import image_of
from .app_config import check_domain, config_of, environment_of
from .deploy_plan import DeployPlan, plan_of
from .image_lines import how_known, when
from .undo import find_targets, step_to_another


def _plan_rollback(work: Work) -> DeployPlan:
    """Plans to deploy what ran before, with the config that it had; only flags change that."""
    texts, given = work.options["env"] or [], work.options["back"]
    back = of_flag("--back", partial(whole_number, "a number of deploys", 1, 1000), 1 if given is None else given)
    changes = said_by_flags(work.settings, texts)
    target, says, restores_it = _before(work, back)
    says = [f"going back to {history.described(target)}{when(target)}", *says]
    restores = None
    if restores_it and target.revision is not None:
        config = merged(target.deploy_config or DeployConfig(), changes)
        restores = RollbackRequest(
            revision=target.revision, deploy_config=changes if changes != DeployConfig() else None
        )
    else:
        if not target.build_id:
            what = f"what ran before ({target.image_name or 'not known'}) has no digest, so it cannot be deployed again"
            raise SettingsError(what, "Nothing was deployed", step_to_another(work))
        config, more = _as_then(work, target, changes, texts)
        says += more
    if work.options["check_health"]:
        check_domain(config)
    plan = plan_of(work, image_of(target, work.state.history), config)
    return structs.replace(plan, says=tuple(says), restores=restores)


def said_by_flags(settings: Settings, texts: Sequence[str]) -> DeployConfig:
    """The part of the deploy config that flags set; `texts` are the values of `--env`."""
    config = config_of(settings, {})
    setting_of = {name: name for name in DeployConfig.__struct_fields__} | {"domains": "domain"}
    said = {name: getattr(config, name) for name, key in setting_of.items() if settings.is_by_flag(key)}
    if settings.is_by_flag("tls"):
        said["tls"] = settings.tls  # `config_of` leaves out true, the API's default
    said["env"] = environment_of(settings, texts, with_configured=False)
    return DeployConfig(**said)


def _before(work: Work, back: int) -> tuple[Ran, list[str], bool]:
    """What ran `back` deploys ago, notes about it for people, and whether the server restores it. SettingsError if
    there were not that many deploys."""
    try:
        targets = find_targets(work, work.look.now())
    except ChangedMeanwhile:  # between the two looks
        targets = find_targets(work, work.look.again())
    found = list(islice(targets.ones, back))
    if len(found) < back:
        earlier = {0: "nothing else ran before", 1: "only one other deploy ran before"}.get(
            len(found), f"only {len(found)} other deploys ran before"
        )
        what = f"{work.settings.app} in {work.settings.namespace} cannot go back by {back}: {earlier}, {targets.source}"
        if targets.failed:
            what += f"; the rollout of revision {', '.join(map(str, targets.failed))} failed"
        raise SettingsError(what, "Nothing was deployed", step_to_another(work))
    target = found[-1]
    passed = [str(one) for one in targets.failed if target.revision is None or one > target.revision]
    says = [f"revision {', '.join(passed)} is skipped: its rollout failed"] if passed else []
    if work.look.now().why and not targets.is_of_server:
        says.append("what others deployed is not known, so only deploys from here count")
    # Only a revision from the server is restored: one from the history here may be of an app that was removed since,
    # and its number may mean another deploy now.
    return target, says, targets.is_of_server and "rollback" in work.client.features


def _as_then(work: Work, target: Ran, changes: DeployConfig, texts: Sequence[str]) -> tuple[DeployConfig, list[str]]:
    """The config of `target` with `changes` and with the current values of its variables, since old values are not
    kept; and notes about it for people."""
    settings, then = work.settings, target.deploy_config
    settings.check("env_from", *(() if then else ("port",)), given=[text.partition("=")[0] for text in texts])
    env = environment_of(settings, texts)
    if then is None:
        config = merged(config_of(settings, env), DeployConfig(replicas=target.replicas))
        return merged(config, DeployConfig(replicas=changes.replicas)), [how_known(target)]
    config = structs.replace(merged(then, changes), env={**env})
    names = names_that_change(then, config)
    since = f" ({names[0]} since then)" if names else ""
    return config, [f"its variables get the current values{since}"] if env or names else []


rollback = Command("rollback", plan=_plan_rollback, uses_record=True, restores=True)
