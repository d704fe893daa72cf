"""Joins this host to a cluster, with a token.

The token's digest tells which CA to trust: the CA's certificate is taken from whoever answers on
the join port, and used only if its digest is the token's. The private keys never leave the host.
"""

import socket
import ssl
import time
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

import grpc

from warren.api import convert, status, warren_pb2, warren_pb2_grpc
from warren.bootstrap import certificates, node_files, tokens
from warren.bootstrap.create import check_host
from warren.bootstrap.node_files import Credentials, Membership
from warren.bootstrap.tokens import Token
from warren.config import Config
from warren.drivers import mesh_key
from warren.model.assignments import ManagerAddress
from warren.model.clusters import ClusterSpec
from warren.model.errors import InvalidInput, Unauthenticated, Unavailable, WarrenError
from warren.model.nodes import Node, NodeDescription, NodeRole, NodeSpec
from warren.model.services import Secret

DEFAULT_PORT = 7444
_CONNECT_TIMEOUT = timedelta(seconds=5)
_CALL_TIMEOUT = timedelta(seconds=20)
_PAUSE = timedelta(seconds=0.5)


def join(
    config: Config,
    token: str,
    endpoints: Sequence[str],
    node: NodeSpec,
    *,
    patience: timedelta = timedelta(seconds=60),
) -> Membership:
    """Join the cluster that answers at one of `endpoints` (`address` or `address:port`).

    Managers that are away or electing are asked again for `patience`; a refusal ends it at once.
    Joining again after an interruption gives the same node.
    """
    node_files.refuse_member(config)
    parsed = tokens.parse(token)
    check_host(config, node)
    _check_role(parsed, node)
    if not endpoints:
        raise InvalidInput("must name at least one manager", path="endpoints")
    key = certificates.new_key()
    request = warren_pb2.JoinRequest(
        token=token.strip(),
        csr=certificates.signing_request(key, node.name),
        spec=convert.to_message(node),
        description=convert.to_message(NodeDescription(address=config.advertise_address)),
        public_key=mesh_key.public_key(config.mesh_key_path),
        endpoint=config.advertise_address,
    )
    response = _ask_any(parsed, [_with_port(e) for e in endpoints], request, patience)
    return _install(config, key, response)


def _check_role(token: Token, node: NodeSpec) -> None:
    if token.role is NodeRole.WORKER and NodeRole.MANAGER in node.roles:
        raise Unauthenticated("this join token admits workers, and this node is to be a manager")


def _ask_any(
    token: Token,
    endpoints: Sequence[str],
    request: warren_pb2.JoinRequest,
    patience: timedelta,
) -> warren_pb2.JoinResponse:
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        failures = []
        for endpoint in endpoints:
            try:
                return _ask(token, endpoint, request)
            except WarrenError as error:
                if not error.transient:
                    raise
                failures.append(f"{endpoint}: {error}")
        if time.monotonic() > deadline:
            raise Unavailable("no manager let this host join: " + "; ".join(failures))
        time.sleep(_PAUSE.total_seconds())


def _ask(token: Token, endpoint: str, request: warren_pb2.JoinRequest) -> warren_pb2.JoinResponse:
    authority = _authority_certificate(token, endpoint)
    credentials = grpc.ssl_channel_credentials(root_certificates=authority.encode())
    options = (("grpc.ssl_target_name_override", "manager.warren"),)
    with grpc.secure_channel(endpoint, credentials, options) as channel:
        stub = warren_pb2_grpc.MembershipStub(channel)
        try:
            return stub.Join(request, timeout=_CALL_TIMEOUT.total_seconds())
        except grpc.RpcError as error:
            raise status.error_from_rpc(error) from error


def _authority_certificate(token: Token, endpoint: str) -> str:
    """The CA certificate (PEM) that the token describes, from the server's own chain."""
    for data in served_chain(endpoint):
        if sha256(data).digest() == token.ca_digest:
            return certificates.pem_from_der(data)
    raise Unauthenticated(
        f"{endpoint} belongs to another cluster than this join token: its CA has another digest"
    )


def served_chain(endpoint: str) -> list[bytes]:
    """Certificates (DER) that the server shows. Unverified: the caller compares digests."""
    host, _, port = endpoint.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        timeout = _CONNECT_TIMEOUT.total_seconds()
        with (
            socket.create_connection((host, int(port)), timeout) as plain,
            context.wrap_socket(plain, server_hostname="manager.warren") as secure,
        ):
            return _unverified_chain(secure)
    except ssl.SSLError as error:
        raise Unavailable(f"does not speak TLS ({error.reason})") from error
    except TimeoutError as error:
        raise Unavailable("no answer") from error
    except OSError as error:
        raise Unavailable((error.strerror or str(error)).lower()) from error


def _unverified_chain(connection: ssl.SSLSocket) -> list[bytes]:
    if hasattr(connection, "get_unverified_chain"):  # Python 3.13
        return list(connection.get_unverified_chain())
    inner = connection._sslobj  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(c.public_bytes()) for c in inner.get_unverified_chain()]


def _install(config: Config, key: Secret, response: warren_pb2.JoinResponse) -> Membership:
    spec = convert.from_message(response.spec, ClusterSpec)
    membership = node_files.membership_of(
        convert.from_message(response.node, Node),
        response.cluster_id,
        spec,
        [convert.from_message(manager, ManagerAddress) for manager in response.managers],
    )
    credentials = Credentials(
        ca_certificate=response.ca_certificate, certificate=response.certificate, key=key
    )
    node_files.install(config, membership, credentials)
    return membership


def _with_port(endpoint: str) -> str:
    host, colon, port = endpoint.rpartition(":")
    if not colon:
        return f"{endpoint}:{DEFAULT_PORT}"
    if not host or not port.isdigit():
        raise InvalidInput(f"{endpoint!r} is not address:port", path="endpoints")
    return endpoint
