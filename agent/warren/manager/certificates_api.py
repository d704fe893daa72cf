"""Certificates of the cluster's CA: for operators (Control) and renewed ones for nodes (Managers).

The CA's key is in the replicated state and is used on the leader; it never leaves the managers.
"""

import logging
import re

from warren.api import warren_pb2
from warren.bootstrap import certificates
from warren.bootstrap.certificates import Authority
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext, cluster_of
from warren.model.clusters import Cluster
from warren.model.errors import InvalidInput, PermissionDenied

logger = logging.getLogger(__name__)

_OPERATOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


class CertificatesApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def issue_operator_certificate(
        self, request: warren_pb2.IssueOperatorCertificateRequest, caller: Caller
    ) -> warren_pb2.IssueOperatorCertificateResponse:
        if not _OPERATOR_NAME.fullmatch(request.name):
            message = "must be 1 to 63 letters, digits, dots, hyphens, underscores or at signs"
            raise InvalidInput(message, path="name")
        cluster = cluster_of(await self._context.store.barrier())
        certificate = certificates.sign_operator(
            authority_of(cluster), request.csr, name=request.name, now=self._context.now()
        )
        logger.info("operator certificate for %s issued to %s", request.name, caller.name)
        return warren_pb2.IssueOperatorCertificateResponse(
            certificate=certificate,
            ca_certificate=cluster.ca_certificate,
            endpoints=[manager.api for manager in self._context.managers()],
            cluster=cluster.spec.name,
        )

    async def renew_certificate(
        self, request: warren_pb2.RenewCertificateRequest, caller: Caller
    ) -> warren_pb2.RenewCertificateResponse:
        """For the calling node itself, as long as it is in the cluster."""
        state = await self._context.store.barrier()
        cluster = cluster_of(state)
        node = state.nodes.get(caller.name)
        if node is None:
            raise PermissionDenied(f"{caller.name} is not a node of cluster {cluster.spec.name}")
        certificate = certificates.sign_node(
            authority_of(cluster),
            request.csr,
            node_id=node.id,
            name=node.spec.name,
            roles=[role.value for role in node.spec.roles],
            now=self._context.now(),
        )
        logger.info("certificate of node %s renewed", node.spec.name)
        return warren_pb2.RenewCertificateResponse(
            certificate=certificate, ca_certificate=cluster.ca_certificate
        )


def authority_of(cluster: Cluster) -> Authority:
    """The CA of the cluster, with its key."""
    return Authority(cluster_id=cluster.id, certificate=cluster.ca_certificate, key=cluster.ca_key)
