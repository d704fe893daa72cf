"""Autolock as its user sees it: on, off, another passphrase, and managers that are unlocked.

Used by the command line and by the Ansible module on the control node. The passphrase never leaves
this process: what managers are given is the key that it opens.
"""

from datetime import UTC, datetime

from warren.client import Client
from warren.model.errors import FailedPrecondition, WaitFailed
from warren.model.services import Secret
from warren.model.views import AutolockView
from warren.store import locking, passphrases

IS_ON = "autolock is on already: warren cluster autolock rotate changes the passphrase"


def turn_on(client: Client, passphrase: Secret) -> AutolockView:
    """From now on, a manager that starts is locked. FailedPrecondition: it is on already."""
    before = client.get_autolock()
    if before.lock is not None:
        raise FailedPrecondition(IS_ON)
    return _lock(client, before, passphrase)


def turn_off(client: Client) -> bool:
    """The keys of secrets are without a lock again; answers whether there was one."""
    before = client.get_autolock()
    if before.lock is None:
        return False
    client.apply_autolock(None, b"", expected=before.lock.id)
    return True


def change(client: Client, passphrase: Secret, new: Secret) -> AutolockView:
    """Another passphrase, and another key of secrets. InvalidInput: the first is not the one."""
    before = client.get_autolock()
    if before.lock is None:
        raise FailedPrecondition("autolock is off: there is no passphrase to change")
    locking.open_lock(before.cluster_id, before.lock, passphrase)
    return _lock(client, before, new)


def opens(view: AutolockView, passphrase: Secret) -> bool:
    """Whether it is the passphrase of the lock that there is."""
    if view.lock is None:
        return False
    return locking.tried(view.cluster_id, view.lock, passphrase) is not None


def locked(view: AutolockView) -> tuple[str, ...]:
    """Names of the managers that are locked, as far as they answer."""
    return tuple(each.name for each in view.managers if each.locked)


def silent(view: AutolockView) -> tuple[str, ...]:
    """Names of the managers that did not answer."""
    return tuple(each.name for each in view.managers if not each.answered)


def unlock(client: Client, passphrase: Secret) -> tuple[str, ...]:
    """No manager that answers is locked; the names of those that were.

    InvalidInput: it is not the passphrase, also where nobody is locked. WaitFailed names those
    that are locked still.
    """
    before = client.get_autolock()
    if before.lock is None:
        return ()
    opened = locking.open_lock(before.cluster_id, before.lock, passphrase)
    if not (locked(before) or silent(before)):
        return ()
    after = client.unlock(opened.lock.id, opened.key)
    if left := locked(after):
        raise WaitFailed(f"still locked: {', '.join(left)}")
    return locked(before)


def _lock(client: Client, before: AutolockView, passphrase: Secret) -> AutolockView:
    opened = locking.new_lock(
        before.cluster_id, passphrase, datetime.now(UTC), cost=passphrases.USUAL
    )
    expected = before.lock.id if before.lock is not None else ""
    return client.apply_autolock(opened.lock, opened.key, expected=expected)
