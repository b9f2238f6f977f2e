"""A model served on this machine or a cluster, for the `slipway` command: status, promote, rollback, repair, client."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from pydantic import BaseModel

from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import manual_control
from slipway.components.rollout.manual_control import ManualTarget
from slipway.components.rollout.rollout_progress import RolloutProgress
from slipway.components.rollout.target import Revision


class RevisionStatus(BaseModel):
    """The state of a revision."""

    version: str
    digest: str
    percent: int
    """Its share of traffic."""
    pid: int | str | None
    """Its process id on this machine; in a cluster how many of its pods are ready, as a sentence."""
    running: bool
    ready: bool
    """Whether it answers."""
    failure: str | None = None
    """Why it does not answer; null where this is not known."""


class ProxyStatus(BaseModel):
    """The proxy of the target `local`."""

    pid: int | None
    running: bool
    ready: bool


class Status(BaseModel):
    """What is served: the versions, their shares of traffic and their health."""

    served: bool
    """Whether a version is the champion."""
    healthy: bool
    """Whether every part that should run does run and answer."""
    message: str
    """A sentence for people."""
    model_name: str = ""
    service: str | None = None
    """The InferenceService, as namespace/name."""
    mode: str | None = None
    """Deployment mode of KServe: Knative or Standard."""
    endpoint: dict[str, str] = {}
    """Addresses: `rest`; `grpc` on this machine; in a cluster `host`, for the header Host."""
    proxy: ProxyStatus | None = None
    champion: RevisionStatus | None = None
    challenger: RevisionStatus | None = None
    rollout: RolloutProgress | None = None
    """Progress of a rollout that goes on or is held."""
    held_by: str | None = None
    """The process that drives a rollout now."""


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
            SlipwayError: the service does not run.
        """

    @abstractmethod
    def held(self) -> AbstractContextManager[tuple[ManualTarget, Registry]]:
        """The target and the registry, locked for this process, so that no other process changes them meanwhile."""

    @abstractmethod
    def revision_of(self, version: Version) -> Revision:
        """A registered version as a revision that the target can deploy.

        Raises:
            BadInput: the target cannot get the version's bundle.
        """

    def promote(self) -> str:
        """Make the challenger the champion now, whatever the evidence; return a sentence that says what was done.

        The challenger is the deployed one, for example that of a held rollout. Without one it is the registry's.

        Raises:
            BadInput: there is no challenger.
            RevisionFailed: the challenger does not answer; the champion serves as before.
        """
        with self.held() as (target, registry):
            return manual_control.promote(target, registry, self.revision_of)

    def rollback(self) -> str:
        """Take the challenger out of traffic; without a challenger, serve the previous champion again.

        Raises:
            BadInput: there is neither a challenger nor a previous champion.
            RevisionFailed: the previous champion does not answer; the present one serves as before.
        """
        with self.held() as (target, registry):
            return manual_control.rollback(target, registry, self.revision_of)

    def repair(self) -> str:
        """Make the registry's aliases agree with what is served; return a sentence that says what was done."""
        with self.held() as (target, registry):
            return manual_control.repair(target, registry)
