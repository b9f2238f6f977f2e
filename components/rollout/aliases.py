"""Writes a rollout's decision into the model registry as aliases, for the driver and manual control."""

from typing import Protocol

from slipway.components.platforms.model_registry import Registry


class Aliases(Protocol):
    """What a driver needs of the registry; every method is idempotent."""

    def nominate(self, version: str) -> None:
        """Make the version the challenger."""

    def promote(self, version: str) -> None:
        """Make the version the champion."""

    def reject(self, version: str, reason: str) -> None:
        """Record that the version was rolled back, and why."""


class RegistryAliases:
    """Writes a driver's decisions into the registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def nominate(self, version: str) -> None:
        """Make the version the challenger, unless it is the champion."""
        self.registry.nominate(version)

    def promote(self, version: str) -> None:
        """Make the version the champion."""
        self.registry.promote(version)

    def reject(self, version: str, reason: str) -> None:
        """Record that the version was rolled back. The registry's champion stays champion, even if it failed here."""
        champion = self.registry.champion()
        if champion is None or champion.version != version:
            self.registry.reject(version, reason)
