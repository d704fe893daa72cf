"""No secret leaves: what reads answer in the place of every secret."""

from dataclasses import replace
from typing import TypeVar

from warren.model.services import HIDDEN, Revision, Secret, Service, TaskTemplate

Template = TypeVar("Template", bound=TaskTemplate)


def hide(spec: Template) -> Template:
    """The spec or template with `(hidden)` for every secret, as reads answer it."""
    if spec.registry_auth is None:
        return spec
    return replace(spec, registry_auth=replace(spec.registry_auth, password=Secret(HIDDEN)))


def of_revision(revision: Revision) -> Revision:
    """The same of a kept revision."""
    return replace(revision, template=hide(revision.template))


def of_service(service: Service) -> Service:
    """The same of a service, and of the revisions that it keeps."""
    revisions = tuple(of_revision(each) for each in service.revisions)
    return replace(service, spec=hide(service.spec), revisions=revisions)
