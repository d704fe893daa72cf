"""The client's calls for secrets and configs. Part of `Client`.

A value goes into the request and nowhere else; no answer has one but that of a config.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from warren.api import convert, warren_pb2
from warren.model.secrets import ConfigSpec, KeyLock, SecretSpec
from warren.model.views import (
    AutolockView,
    ConfigApplied,
    ConfigView,
    SecretApplied,
    SecretKeysView,
    SecretView,
)


class SecretCalls:
    """Calls that `Client` makes."""

    @abstractmethod
    def _call(
        self, method: str, request: Any, *, timeout: float | None = None, repeatable: bool = True
    ) -> Any: ...

    def apply_secret(
        self,
        spec: SecretSpec,
        fields: Sequence[str],
        value: bytes | None = None,
        *,
        expected_version: int = 0,
        dry_run: bool = False,
    ) -> SecretApplied:
        """Create or change a secret. A `value` that is not the newest version's makes another,
        and begins the rollouts of its followers; None: the newest stays."""
        request = warren_pb2.ApplySecretRequest(
            spec=convert.to_message(spec),
            fields=fields,
            value=value,
            expected_version=expected_version,
            dry_run=dry_run,
        )
        return convert.from_message(self._call("ApplySecret", request), SecretApplied)

    def get_secret(self, name: str, *, stale: bool = False) -> SecretView:
        """The secret, without its values. NotFound if there is none."""
        request = warren_pb2.GetSecretRequest(name=name, stale=stale)
        return convert.from_message(self._call("GetSecret", request), SecretView)

    def list_secrets(self, *, stale: bool = False) -> tuple[SecretView, ...]:
        """All secrets, without their values."""
        response = self._call("ListSecrets", warren_pb2.ListSecretsRequest(stale=stale))
        return tuple(convert.from_message(view, SecretView) for view in response.secrets)

    def delete_secret(self, name: str, *, expected_version: int = 0, dry_run: bool = False) -> bool:
        """Remove a secret; answers whether there was one. FailedPrecondition names its users."""
        request = warren_pb2.DeleteSecretRequest(
            name=name, expected_version=expected_version, dry_run=dry_run
        )
        return bool(self._call("DeleteSecret", request).changed)

    def get_secret_keys(self, *, stale: bool = False) -> SecretKeysView:
        """Which key secrets are sealed with, and how far a rotation is. NotFound: none yet."""
        request = warren_pb2.GetSecretKeysRequest(stale=stale)
        return convert.from_message(self._call("GetSecretKeys", request), SecretKeysView)

    def rotate_secret_keys(
        self, *, older_than: timedelta = timedelta(), dry_run: bool = False
    ) -> bool:
        """Have all secrets sealed anew, unless their key is younger than that;
        `rotations.wait_resealed` waits for it. Answers whether that is, or would be, done."""
        request = warren_pb2.RotateSecretKeysRequest(dry_run=dry_run)
        request.older_than.FromTimedelta(older_than)
        return bool(self._call("RotateSecretKeys", request).changed)

    def get_autolock(self, *, stale: bool = False) -> AutolockView:
        """Whether managers are locked when they start, and who is now."""
        request = warren_pb2.GetAutolockRequest(stale=stale)
        return convert.from_message(self._call("GetAutolock", request), AutolockView)

    def apply_autolock(self, lock: KeyLock | None, key: bytes, *, expected: str) -> AutolockView:
        """Autolock on with this lock and its key, or off. `expected`: id of the lock before.
        `bootstrap.autolock` makes locks from passphrases."""
        request = warren_pb2.ApplyAutolockRequest(
            lock=convert.to_message(lock) if lock is not None else None, key=key, expected=expected
        )
        return convert.from_message(self._call("ApplyAutolock", request), AutolockView)

    def unlock(self, lock_id: str, key: bytes) -> AutolockView:
        """Give all managers the key of the lock. InvalidInput: it is not that."""
        request = warren_pb2.UnlockRequest(lock_id=lock_id, key=key)
        return convert.from_message(self._call("Unlock", request), AutolockView)

    def apply_config(
        self,
        spec: ConfigSpec,
        fields: Sequence[str],
        value: bytes | None = None,
        *,
        expected_version: int = 0,
        dry_run: bool = False,
    ) -> ConfigApplied:
        """The same as `apply_secret`, of a config."""
        request = warren_pb2.ApplyConfigRequest(
            spec=convert.to_message(spec),
            fields=fields,
            value=value,
            expected_version=expected_version,
            dry_run=dry_run,
        )
        return convert.from_message(self._call("ApplyConfig", request), ConfigApplied)

    def get_config(self, name: str, *, stale: bool = False) -> ConfigView:
        """The config with all of its versions. NotFound if there is none."""
        request = warren_pb2.GetConfigRequest(name=name, stale=stale)
        return convert.from_message(self._call("GetConfig", request), ConfigView)

    def list_configs(self, *, stale: bool = False) -> tuple[ConfigView, ...]:
        """All configs, without their contents."""
        response = self._call("ListConfigs", warren_pb2.ListConfigsRequest(stale=stale))
        return tuple(convert.from_message(view, ConfigView) for view in response.configs)

    def delete_config(self, name: str, *, expected_version: int = 0, dry_run: bool = False) -> bool:
        """Remove a config; answers whether there was one. FailedPrecondition names its users."""
        request = warren_pb2.DeleteConfigRequest(
            name=name, expected_version=expected_version, dry_run=dry_run
        )
        return bool(self._call("DeleteConfig", request).changed)
