#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_autolock
short_description: Keep secrets of a Warren cluster under a passphrase, and unlock its managers
version_added: 0.1.0
description:
  - Under autolock, the keys of secrets are stored encrypted with a passphrase that no host has. A
    manager that was started again cannot open secrets until it is unlocked; it does all else.
  - The passphrase stays on the machine that this runs on. Run it on the control node, so that it
    is on no host's disk, not even in a temporary file.
author:
  - The Warren authors (@warren)
options:
  state:
    description:
      - With V(unlocked), no manager that answers is locked. Where autolock is off, there is nothing
        to do.
      - With V(enabled), autolock is on with this passphrase.
      - With V(disabled), it is off.
    type: str
    choices: [unlocked, enabled, disabled]
    default: unlocked
  passphrase:
    description:
      - The unlock key, best from Ansible Vault; at least 8 characters. Needed but for
        O(state=disabled).
    type: str
  new_passphrase:
    description:
      - With O(state=enabled), the passphrase that there shall be. Where it is O(passphrase) still,
        it is changed, and all secrets are sealed anew with new keys.
    type: str
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: warren.core.warren_secret_keys
"""

EXAMPLES = r"""
- name: Secrets are under a passphrase
  warren.core.warren_autolock:
    state: enabled
    passphrase: "{{ vault_unlock_key }}"

- name: Managers that were started again can open secrets
  warren.core.warren_autolock:
    passphrase: "{{ vault_unlock_key }}"

- name: The passphrase is another one
  warren.core.warren_autolock:
    state: enabled
    passphrase: "{{ vault_unlock_key_before }}"
    new_passphrase: "{{ vault_unlock_key }}"
"""

RETURN = r"""
autolock:
  description:
    - Whether autolock is on, since when, and which managers are locked (V(null) for one that did
      not answer).
  returned: success
  type: dict
  sample:
    enabled: true
    since: "2026-06-01T12:00:00Z"
    managers: [{name: m1, locked: false}]
unlocked:
  description: Managers that were unlocked, or would be.
  returned: success
  type: list
  elements: str
  sample: [m1]
duration:
  description: Seconds that it took.
  returned: always
  type: float
error:
  description:
    - Class of the error, such as V(InvalidInput), V(FailedPrecondition), V(Unavailable) or
      V(WaitFailed).
  returned: failure
  type: str
path:
  description: What is wrong, such as V(unlock key), where one thing is.
  returned: failure
  type: str
"""

from typing import TYPE_CHECKING, Any

from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, run

try:
    from warren.bootstrap import autolock
    from warren.client import reports
    from warren.model.errors import InvalidInput
    from warren.model.services import Secret
    from warren.store import locking, passphrases
except ImportError:  # told by module_utils/warren.py
    pass

if TYPE_CHECKING:
    from warren.client import Client
    from warren.model.views import AutolockView


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "state": {
                "type": "str",
                "choices": ["unlocked", "enabled", "disabled"],
                "default": "unlocked",
            },
            "passphrase": {"type": "str", "no_log": True},
            "new_passphrase": {"type": "str", "no_log": True},
        },
        required_if=[
            ("state", "unlocked", ("passphrase",)),
            ("state", "enabled", ("passphrase",)),
        ],
    )
    run(module, lambda: keep(module))


def keep(module: WarrenModule) -> dict[str, Any]:
    """Autolock is as the options say."""
    unlocked: tuple[str, ...] = ()
    with module.client() as client:
        view = client.get_autolock()
        match module.params["state"]:
            case "unlocked":
                unlocked = _unlock(module, client, view)
                changed = bool(unlocked)
            case "enabled":
                changed = _enable(module, client, view)
            case _:
                changed = view.lock is not None
                if changed and not module.check_mode:
                    autolock.turn_off(client)
        after = reports.autolock(client.get_autolock())
    return {"changed": changed, "autolock": after, "unlocked": list(unlocked)}


def _unlock(module: WarrenModule, client: Client, view: AutolockView) -> tuple[str, ...]:
    if view.lock is None:
        return ()
    passphrase = Secret(module.params["passphrase"])
    if not module.check_mode:
        return autolock.unlock(client, passphrase)
    locking.open_lock(view.cluster_id, view.lock, passphrase)
    return autolock.locked(view)


def _enable(module: WarrenModule, client: Client, view: AutolockView) -> bool:
    """Whether something was, or would be, changed."""
    passphrase = Secret(module.params["passphrase"])
    wanted = Secret(module.params["new_passphrase"] or passphrase)
    passphrases.check(wanted, locking.WHAT)
    if view.lock is not None and autolock.opens(view, wanted):
        return False
    if view.lock is not None and (wanted == passphrase or not autolock.opens(view, passphrase)):
        raise InvalidInput("is not the one that autolock is on with", path=locking.WHAT)
    if module.check_mode:
        return True
    if view.lock is None:
        autolock.turn_on(client, wanted)
    else:
        autolock.change(client, passphrase, wanted)
    return True


if __name__ == "__main__":
    main()
