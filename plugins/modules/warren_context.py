#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_context
short_description: Give this machine access to a Warren cluster
version_added: 0.1.0
description:
  - Writes a context file to C(~/.config/warren/contexts), which the modules and the command
    C(warren) use to reach a cluster.
    E(WARREN_CONFIG_DIR) replaces C(~/.config/warren).
  - The key is made here and never leaves this machine. Only a request is carried to a manager, and
    the certificate comes back.
author:
  - The Warren authors (@warren)
options:
  name:
    description: Name of the context, usually that of the cluster.
    type: str
    required: true
  state:
    description:
      - V(requested) makes a key and a request, unless there is a context that is good for longer
        than a third of its life.
      - V(present) writes the context file with O(certificate), or brings O(endpoints) of an
        existing one up to date.
      - V(absent) removes it.
    type: str
    choices: [requested, present, absent]
    default: present
  certificate:
    description: The operator's certificate for the last request (PEM).
    type: str
  ca_certificate:
    description: The CA certificate of the cluster (PEM). Needed with O(certificate).
    type: str
  endpoints:
    description: Managers of the cluster, as C(host:port). Needed with O(certificate).
    type: list
    elements: str
  cluster:
    description: Name of the cluster. By default O(name).
    type: str
  ca_digest:
    description:
      - With O(state=requested), the digest of the cluster's CA. A context for another CA is asked
        for anew.
    type: str
  use:
    description: Make it the current context.
    type: bool
    default: true
extends_documentation_fragment:
  - warren.core.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Certificates and keys are not shown.
  idempotent:
    support: full
requirements:
  - python >= 3.11
  - The Python package C(warren), which is in the directory C(agent) of this collection
seealso:
  - module: warren.core.warren_cluster
"""

EXAMPLES = r"""
- name: Ask for access to the cluster
  warren.core.warren_context:
    name: demo
    state: requested
    ca_digest: "{{ warren.cluster.ca_digest }}"
  delegate_to: localhost
  register: request

- name: Sign the request on a manager
  warren.core.warren_cluster:
    operator_csr: "{{ request.csr }}"
  register: signed
  when: request.needed

- name: Keep the certificate
  warren.core.warren_context:
    name: demo
    certificate: "{{ signed.operator.certificate }}"
    ca_certificate: "{{ signed.operator.ca_certificate }}"
    endpoints: "{{ signed.operator.endpoints }}"
  delegate_to: localhost
  when: request.needed
"""

RETURN = r"""
needed:
  description: Whether a certificate must be fetched for this machine.
  returned: success with O(state=requested)
  type: bool
csr:
  description:
    - The certificate request (PEM), empty when none is needed and in check mode when there is no
      key yet.
  returned: success with O(state=requested)
  type: str
file:
  description: The context file.
  returned: success
  type: str
context:
  description:
    - The context without certificates and key, that is C(cluster), C(endpoints) and C(expires_at).
  returned: success with O(state=present)
  type: dict
duration:
  description: Seconds that it took.
  returned: always
  type: float
error:
  description:
    - Class of the error, such as V(InvalidInput), V(NotFound), V(Conflict), V(Unavailable) or
      V(WaitFailed).
  returned: failure
  type: str
path:
  description: The field that is wrong, such as V(web.ports[0].target), where one is.
  returned: failure
  type: str
"""

from datetime import datetime, timezone
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.warren.core.plugins.module_utils.services import to_yaml
from ansible_collections.warren.core.plugins.module_utils.warren import require_warren, run

try:
    from warren.bootstrap import certificates
    from warren.client import contexts
    from warren.client.connection import normalise_endpoint
    from warren.client.contexts import Context
    from warren.model.errors import InvalidInput, NotFound
except ImportError:  # told by module_utils/warren.py
    pass


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["requested", "present", "absent"],
                "default": "present",
            },
            "certificate": {"type": "str"},
            "ca_certificate": {"type": "str"},
            "endpoints": {"type": "list", "elements": "str"},
            "cluster": {"type": "str"},
            "ca_digest": {"type": "str"},
            "use": {"type": "bool", "default": True},
        },
        required_by={"certificate": ["ca_certificate", "endpoints"]},
        supports_check_mode=True,
    )
    require_warren(module)
    states = {"requested": requested, "present": present, "absent": absent}
    run(module, lambda: states[module.params["state"]](module))


def requested(module: AnsibleModule) -> dict[str, Any]:
    """There is a good context, or a key with a request to be signed."""
    name = module.params["name"]
    result = {"file": str(contexts.path_of(name)), "changed": False}
    if _is_good(_existing(name), module.params["ca_digest"]):
        return {**result, "needed": False, "csr": ""}
    key = contexts.load_pending_key(name)
    if not key:
        result["changed"] = True
        if module.check_mode:
            return {**result, "needed": True, "csr": ""}
        key = certificates.new_key()
        contexts.save_pending_key(name, key)
    return {**result, "needed": True, "csr": certificates.signing_request(key, name)}


def present(module: AnsibleModule) -> dict[str, Any]:
    """The context file says what the options say."""
    name, params = module.params["name"], module.params
    before = _existing(name)
    after = _new(params) if params["certificate"] else _with_endpoints(before, params)
    use = params["use"] and contexts.current() != name
    if not module.check_mode:
        if after != before:
            contexts.save(name, after)
            contexts.forget_pending_key(name)
        if use:
            contexts.use(name)
    shown_before = _shown(before) if before else {}
    return {
        "changed": after != before or use,
        "file": str(contexts.path_of(name)),
        "context": _shown(after),
        "diff": {
            "before_header": f"context {name}",
            "after_header": f"context {name}",
            "before": to_yaml({**shown_before, "current": contexts.current() == name and not use}),
            "after": to_yaml({**_shown(after), "current": params["use"]}),
        },
    }


def absent(module: AnsibleModule) -> dict[str, Any]:
    """There is no such context here."""
    name = module.params["name"]
    path = contexts.path_of(name)
    there = path.exists() or bool(contexts.load_pending_key(name))
    if not module.check_mode:
        contexts.remove(name)
    return {"changed": there, "file": str(path)}


def _existing(name: str) -> Context | None:
    try:
        return contexts.load(name)
    except (NotFound, InvalidInput):
        return None


def _is_good(context: Context | None, ca_digest: str | None) -> bool:
    if context is None:
        return False
    try:
        right_ca = not ca_digest or certificates.digest(context.ca_cert).hex() == ca_digest
        return right_ca and datetime.now(timezone.utc) < certificates.renew_at(context.client_cert)
    except (ValueError, InvalidInput):
        return False


def _new(params: dict[str, Any]) -> Context:
    """The context that the certificate makes with the key it belongs to."""
    name = params["name"]
    before = _existing(name)
    keys = [contexts.load_pending_key(name), before.client_key if before else ""]
    for key in keys:
        if key and _belong_together(key, params["certificate"]):
            return Context(
                cluster=params["cluster"] or name,
                endpoints=tuple(normalise_endpoint(each) for each in params["endpoints"]),
                ca_cert=params["ca_certificate"].strip() + "\n",
                client_cert=params["certificate"].strip() + "\n",
                client_key=key,
            )
    raise InvalidInput("is not for the key that is here", path="certificate")


def _with_endpoints(before: Context | None, params: dict[str, Any]) -> Context:
    if before is None:
        raise InvalidInput("is needed: there is no such context yet", path="certificate")
    endpoints = before.endpoints
    if params["endpoints"]:
        endpoints = tuple(normalise_endpoint(each) for each in params["endpoints"])
    return Context(
        cluster=params["cluster"] or before.cluster,
        endpoints=endpoints,
        ca_cert=before.ca_cert,
        client_cert=before.client_cert,
        client_key=before.client_key,
    )


def _belong_together(key: str, certificate: str) -> bool:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        public = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    except ValueError:
        raise InvalidInput("is not a certificate (PEM)", path="certificate") from None
    return load_pem_private_key(key.encode(), None).public_key() == public


def _shown(context: Context) -> dict[str, Any]:
    from cryptography import x509

    loaded = x509.load_pem_x509_certificate(context.client_cert.encode())
    return {
        "cluster": context.cluster,
        "endpoints": list(context.endpoints),
        "expires_at": loaded.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
    }


if __name__ == "__main__":
    main()
