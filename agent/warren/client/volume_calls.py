"""The client's calls for volumes. Part of `Client`."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from warren.api import convert, warren_pb2
from warren.model.views import VolumeApplied, VolumeView
from warren.model.volumes import Volume, VolumeSpec


class VolumeCalls:
    """Calls that `Client` makes."""

    @abstractmethod
    def _call(
        self, method: str, request: Any, *, timeout: float | None = None, repeatable: bool = True
    ) -> Any: ...

    def apply_volume(
        self,
        spec: VolumeSpec,
        fields: Sequence[str],
        *,
        expected_version: int = 0,
        dry_run: bool = False,
    ) -> VolumeApplied:
        """Create or change a volume. Nothing is made on a node before a task needs it."""
        request = warren_pb2.ApplyVolumeRequest(
            spec=convert.to_message(spec),
            fields=fields,
            expected_version=expected_version,
            dry_run=dry_run,
        )
        return convert.from_message(self._call("ApplyVolume", request), VolumeApplied)

    def get_volume(self, name: str, *, stale: bool = False, usage: bool = True) -> VolumeView:
        """The volume. `usage`: its node is asked how large it is. NotFound if there is none."""
        request = warren_pb2.GetVolumeRequest(name=name, stale=stale, usage=usage and not stale)
        return convert.from_message(self._call("GetVolume", request), VolumeView)

    def list_volumes(self, *, stale: bool = False, usage: bool = True) -> tuple[VolumeView, ...]:
        """All volumes."""
        request = warren_pb2.ListVolumesRequest(stale=stale, usage=usage and not stale)
        response = self._call("ListVolumes", request)
        return tuple(convert.from_message(view, VolumeView) for view in response.volumes)

    def delete_volume(self, name: str, *, expected_version: int = 0, dry_run: bool = False) -> bool:
        """Remove a volume and its data; answers whether there was one that stays. It is gone when
        its node has deleted the data. FailedPrecondition names its users."""
        request = warren_pb2.DeleteVolumeRequest(
            name=name, expected_version=expected_version, dry_run=dry_run
        )
        return bool(self._call("DeleteVolume", request).changed)

    def release_volume(
        self, name: str, node: str = "", *, expected_version: int = 0, dry_run: bool = False
    ) -> tuple[Volume, Volume]:
        """Have the volume be on no node and begin anew, or on `node`, with what is there; before,
        and after. Its data stays where it was. FailedPrecondition names the tasks that have it."""
        request = warren_pb2.ReleaseVolumeRequest(
            name=name, node=node, expected_version=expected_version, dry_run=dry_run
        )
        response = self._call("ReleaseVolume", request)
        before, after = response.before, response.after
        return convert.from_message(before, Volume), convert.from_message(after, Volume)
