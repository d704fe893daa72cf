"""`warren cluster autolock on|rotate|off` and `warren cluster unlock`.

The passphrase comes from a prompt, a file or stdin: on the command line everybody on the machine
could read it.
"""

import argparse
import sys
from collections.abc import Iterable
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from warren.cli import common
from warren.cli.common import Nouns, Options
from warren.model.errors import FailedPrecondition, InvalidInput, WaitFailed

if TYPE_CHECKING:
    from warren.model.services import Secret
    from warren.model.views import AutolockView


def register(verbs: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add both to the verbs of the cluster."""
    verb = common.add_verb(
        verbs, shared, "unlock", "let managers that were started again open secrets", unlock
    )
    _add_key_file(verb, "--key-file", "the passphrase")

    acts = common.add_noun(verbs, "autolock", "a passphrase without which no manager opens secrets")
    verb = common.add_verb(acts, shared, "on", "lock managers whenever they start", turn_on)
    _add_key_file(verb, "--key-file", "the passphrase")
    verb = common.add_verb(
        acts, shared, "rotate", "change the passphrase, and the key of secrets", rotate
    )
    _add_key_file(verb, "--key-file", "the passphrase until now")
    _add_key_file(verb, "--new-key-file", "the new one")
    common.add_verb(acts, shared, "off", "store the keys of secrets without a lock", turn_off)


def unlock(options: Options) -> int:
    """Bring the passphrase to managers that are locked."""
    from warren.bootstrap import autolock

    with common.client(options) as client:
        view = client.get_autolock()
        if view.lock is None:
            print("autolock is off: no manager is locked")
            return 0
        passphrase = _read(options.key_file, "unlock key")
        unlocked = autolock.unlock(client, passphrase)
        silent = autolock.silent(client.get_autolock())
    print(f"unlocked: {', '.join(unlocked)}" if unlocked else "no manager is locked")
    _require_all(silent)
    return 0


def turn_on(options: Options) -> int:
    """A passphrase from now on."""
    from warren.bootstrap import autolock

    with common.client(options) as client:
        if client.get_autolock().lock is not None:
            raise FailedPrecondition(autolock.IS_ON)
        view = autolock.turn_on(client, _new(options.key_file, "unlock key"))
    print("autolock is on; secrets are being sealed anew")
    _say_left(view)
    return 0


def rotate(options: Options) -> int:
    """Another passphrase."""
    from warren.bootstrap import autolock

    with common.client(options) as client:
        now = _read(options.key_file, "unlock key until now")
        view = autolock.change(client, now, _new(options.new_key_file, "new unlock key"))
    print("the passphrase is changed; secrets are being sealed anew")
    _say_left(view)
    return 0


def turn_off(options: Options) -> int:
    """No passphrase any more."""
    from warren.bootstrap import autolock

    with common.client(options) as client:
        changed = autolock.turn_off(client)
    print("autolock is off" if changed else "autolock was off already")
    return 0


def _add_key_file(verb: argparse.ArgumentParser, option: str, what: str) -> None:
    verb.add_argument(
        option,
        metavar="FILE",
        help=f"{what} is in a file; - for stdin. Without it you are asked, or stdin is read",
    )


def _new(file: str | None, noun: str) -> "Secret":
    """A passphrase that is typed is typed twice."""
    passphrase = _read(file, noun)
    if file is None and sys.stdin.isatty() and getpass("again: ") != passphrase:
        raise InvalidInput("the two are not the same", path=noun)
    return passphrase


def _read(file: str | None, noun: str) -> "Secret":
    """One line: the first of stdin, so that two can follow each other there."""
    from warren.model.services import Secret

    if file not in (None, "-"):
        try:
            text = Path(str(file)).read_text()
        except OSError as error:
            raise InvalidInput(f"cannot be read: {error.strerror}", path=str(file)) from None
    elif file is None and sys.stdin.isatty():
        text = getpass(f"{noun}: ")
    else:
        text = sys.stdin.readline()
    text = text.rstrip("\r\n")
    if not text:
        raise InvalidInput("must not be empty", path=noun)
    return Secret(text)


def _say_left(view: "AutolockView") -> None:
    """Managers that did not get the key are locked from now on."""
    names = [each.name for each in view.managers if each.locked or not each.answered]
    if names:
        common.say(f"to be unlocked: {', '.join(names)} (warren cluster unlock)")


def _require_all(silent: Iterable[str]) -> None:
    if names := ", ".join(silent):
        raise WaitFailed(f"did not answer, and may be locked: {names}")
