"""A served model as people and scripts handle it, wherever it is served: status, promote, roll back, repair, ask."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from pydantic import BaseModel

from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import manual_control
from slipway.components.rollout.manual_control import Lever
from slipway.components.rollout.target import Revision


class RevisionStatus(BaseModel):
    """A revision that serves."""

    version: str
    digest: str
    percent: int
    """Its share of traffic."""
    pid: int | str | None
    """Its process, or how many of its pods answer."""
    running: bool
    ready: bool
    """Whether it answers."""
    failure: str | None = None
    """Why it does not, as far as is known."""


class ProxyStatus(BaseModel):
    """The proxy of the target `local`."""

    pid: int | None
    running: bool
    ready: bool


class Status(BaseModel):
    """What is served, with which shares, versions and health."""

    served: bool
    """Whether a version is the champion."""
    healthy: bool
    """Whether all that should run runs and answers."""
    message: str
    """A sentence for people."""
    model_name: str = ""
    service: str | None = None
    """The InferenceService, as namespace/name."""
    mode: str | None = None
    """Of KServe: Knative or Standard."""
    endpoint: dict[str, str] = {}
    """Addresses: `rest`; `grpc` on this machine; in a cluster `host`, for the header Host."""
    proxy: ProxyStatus | None = None
    champion: RevisionStatus | None = None
    challenger: RevisionStatus | None = None
    rollout: dict[str, Any] | None = None
    """Where one stands that goes on or is held; see `slipway.components.rollout.state.summary`."""
    held_by: str | None = None
    """Who drives a rollout now."""


class ServedModel(ABC):
    """A model that this machine or a cluster serves."""

    @abstractmethod
    def status(self) -> Status:
        """What is served."""

    @abstractmethod
    def client(self, grpc: bool = False) -> Client | GrpcClient:
        """A client of the public endpoint.

        Raises:
            BadInput: nothing is served yet, or not over that protocol.
            SlipwayError: it is not up.
        """

    @abstractmethod
    def held(self) -> AbstractContextManager[tuple[Lever, Registry]]:
        """The target and the registry, held for this process, so that nobody else changes them meanwhile."""

    @abstractmethod
    def revision_of(self, version: Version) -> Revision:
        """A registered version as the target deploys it.

        Raises:
            BadInput: its bundle cannot be had there.
        """

    def promote(self) -> str:
        """Make the challenger the champion now, whatever the evidence says; returns what was done.

        The challenger is the one that is deployed (a rollout that is held, say), else the registry's.

        Raises:
            BadInput: there is no challenger.
            RevisionFailed: it does not answer; the champion serves as before.
        """
        with self.held() as (target, registry):
            return manual_control.promote(target, registry, self.revision_of)

    def rollback(self) -> str:
        """Take the challenger out of traffic; without one, serve the version before the champion again.

        Raises:
            BadInput: there is neither a challenger nor a version before.
            RevisionFailed: the version before does not answer; the champion serves as before.
        """
        with self.held() as (target, registry):
            return manual_control.rollback(target, registry, self.revision_of)

    def repair(self) -> str:
        """Make the registry's aliases say what is served; returns what was done; see
        `slipway.components.rollout.manual_control`.
        """
        with self.held() as (target, registry):
            return manual_control.repair(target, registry)
