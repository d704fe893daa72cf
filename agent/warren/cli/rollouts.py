"""`warren rollout …`: how services go from one revision to another."""

import argparse
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from warren.cli import common, deploying, rollout_text
from warren.cli.common import Nouns, Options
from warren.cli.progress import Picture, Progress
from warren.model.views import RolloutActed, RolloutView

if TYPE_CHECKING:
    from warren.client import Client

REDRAW_SECONDS = 1.0
"""On a terminal, so that the time that is left runs."""


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "rollout", "how services go from one revision to another")
    verb = common.add_verb(verbs, shared, "ls", "list the newest rollouts", ls)
    verb.add_argument("service", nargs="?", default="", metavar="SERVICE", help="only of this one")
    verb.add_argument("--live", action="store_true", help="only what is under way")
    common.add_stale(verb)

    verb = common.add_verb(verbs, shared, "status", "show how far a rollout is", status)
    _add_which(verb)
    verb.add_argument(
        "-w", "--watch", action="store_true", help="until it is decided; fails if it went back"
    )

    verb = common.add_verb(verbs, shared, "promote", "have one that waits go on", promote)
    _add_which(verb)
    verb.add_argument("--step", type=int, default=0, metavar="N", help="only from this step")
    verb.add_argument("--full", action="store_true", help="through all steps that are left")
    _add_act(verb)

    verb = common.add_verb(verbs, shared, "pause", "leave all as it is", pause)
    _add_which(verb)
    verb.add_argument("--dry-run", action="store_true", help="show what would happen")

    verb = common.add_verb(verbs, shared, "resume", "have a paused one go on", resume)
    _add_which(verb)
    _add_act(verb)

    verb = common.add_verb(verbs, shared, "abort", "turn back to the revision before", abort)
    _add_which(verb)
    verb.add_argument("--reason", default="", metavar="TEXT", help="for those who look later")
    _add_act(verb)

    verb = common.add_verb(
        verbs, shared, "rollback", "go back, also when the rollout has ended", rollback
    )
    _add_which(verb)
    verb.add_argument(
        "--to",
        type=int,
        default=0,
        metavar="REVISION",
        help="one of warren service history (the last good one before)",
    )
    verb.add_argument("--reason", default="", metavar="TEXT", help="for those who look later")
    _add_act(verb)


def _add_which(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("service", metavar="SERVICE")
    verb.add_argument("--id", default="", metavar="ROLLOUT", help="only this one (the newest)")


def _add_act(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="show what would happen")
    deploying.add_wait_options(verb)


def ls(options: Options) -> int:
    """List rollouts: the newest of each service, or the newest few of one."""
    from warren.client import reports

    with common.client(options) as client:
        views = client.list_rollouts(options.service, live=options.live, stale=options.stale)
    rows = [
        (
            view.service,
            view.rollout.id,
            rollout_text.way(view.rollout).removeprefix("revision "),
            rollout_text.strategy_label(view.rollout),
            rollout_text.state(view.rollout),
            f"{view.ready_new}/{view.replicas}",
            "-" if view.weight is None else f"{view.weight} %",
            common.age(view.rollout.started_at),
            view.rollout.reason or view.waiting_for or view.rollout.started_because,
        )
        for view in views
    ]
    headers = (
        "SERVICE",
        "ROLLOUT",
        "REVISION",
        "STRATEGY",
        "STATE",
        "NEW",
        "TRAFFIC",
        "AGE",
        "MESSAGE",
    )
    return common.show(options, [reports.rollout(view) for view in views], headers, rows)


def status(options: Options) -> int:
    """Show one, now or until it is decided."""
    with common.client(options) as client:
        if options.watch:
            return _watch(options, client)
        view = client.get_rollout(options.service, options.id)
    _show(options, view)
    return 0


def promote(options: Options) -> int:
    """Have a rollout go on that waits for it."""
    with common.client(options) as client:
        acted = client.promote_rollout(
            options.service,
            options.id,
            step=options.step,
            full=options.full,
            dry_run=options.dry_run,
        )
        return _follow(options, client, acted)


def pause(options: Options) -> int:
    """Leave all as it is."""
    with common.client(options) as client:
        acted = client.pause_rollout(options.service, options.id, dry_run=options.dry_run)
        return _tell(options, acted, acted.view)


def resume(options: Options) -> int:
    """Have a paused rollout go on."""
    with common.client(options) as client:
        acted = client.resume_rollout(options.service, options.id, dry_run=options.dry_run)
        return _follow(options, client, acted)


def abort(options: Options) -> int:
    """Turn back, and wait until the revision before is all there is."""
    with common.client(options) as client:
        acted = client.abort_rollout(
            options.service, options.id, reason=options.reason, dry_run=options.dry_run
        )
        return _follow(options, client, acted)


def rollback(options: Options) -> int:
    """Go back to a revision that is kept."""
    with common.client(options) as client:
        acted = client.roll_back_service(
            options.service,
            options.to,
            rollout=options.id,
            reason=options.reason,
            dry_run=options.dry_run,
        )
        return _follow(options, client, acted)


def _watch(options: Options, client: "Client") -> int:
    """Draw it over and over. Somebody may promote or resume it meanwhile, so it is watched on."""
    from warren.client import rollouts

    picture = Picture()
    redraws = picture.live and options.output == "table"
    look = REDRAW_SECONDS if redraws else rollouts.LOOK
    last: RolloutView | None = None
    for view in rollouts.watch(client, options.service, options.id, look=look):
        if options.output == "table":
            picture.draw(rollout_text.picture(view, datetime.now(UTC)), rollout_text.line(view))
        elif view != last:
            _print_one(options, view)
        last = view
        if view.rollout.decided:
            break
    assert last is not None, "the first look shows it, or raises"
    try:
        rollouts.is_over(last)
    except rollouts.RolloutWaitFailed as error:
        raise rollouts.explained(client, error) from None
    return 0


def _print_one(options: Options, view: RolloutView) -> None:
    """One of several: a line of JSON, or a document of YAML."""
    from warren.client import reports

    if options.output == "json":
        print(json.dumps(reports.rollout(view), ensure_ascii=False), flush=True)
    else:
        print("---")
        common.show_data(options, reports.rollout(view))


def _follow(options: Options, client: "Client", acted: RolloutActed) -> int:
    """Wait for what comes of it, unless there is nothing to wait for."""
    from warren.client import rollouts

    view = acted.view
    if not options.dry_run and not options.detach:
        try:
            with Progress() as progress:
                view = rollouts.wait_rollout(
                    client,
                    view.service,
                    view.rollout.id,
                    timeout=options.wait_timeout,
                    back=view.rollout.backwards,
                    on_progress=progress.report_rollout,
                )
        except rollouts.RolloutWaitFailed as error:
            raise rollouts.explained(client, error) from None
    return _tell(options, acted, view)


def _tell(options: Options, acted: RolloutActed, view: RolloutView) -> int:
    from warren.client import reports

    if options.output != "table":
        data = {"changed": acted.changed, "rollout": reports.rollout(view)}
        return common.show_data(options, {**data, "plan": list(acted.plan)})
    would = "would be " if options.dry_run and acted.changed else ""
    did = "changed" if acted.changed else "unchanged"
    rollout = view.rollout
    print(
        f"{view.service}: {would}{did}, {rollout_text.way(rollout)}, {rollout_text.where(rollout)}"
    )
    for line in acted.plan if options.dry_run else ():
        print(f"  {line}")
    return 0


def _show(options: Options, view: RolloutView) -> None:
    from warren.client import reports

    if options.output != "table":
        common.show_data(options, reports.rollout(view))
    else:
        print("\n".join(rollout_text.picture(view, datetime.now(UTC))))
