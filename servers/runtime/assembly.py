"""Parts of a server that work in the background, put together from its settings."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from servers.runtime.audit_events import AuditSink, LogAuditSink
from servers.runtime.background import Repeated
from servers.runtime.calls import Interceptor
from servers.runtime.component import Dependency
from servers.runtime.registration import ContractError
from servers.runtime.settings import ServerSettings
from servers.runtime.tokens import TokenVerifier

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from servers.runtime.outcomes import OutcomeWriter

_LOGGER = logging.getLogger(__name__)
_SHIP_INTERVAL_S = 1.0
_PURGE_INTERVAL_S = 600.0


@dataclass
class Life:
    """What starts and ends with a server.

    Args:
        starters: Called before the first call can arrive.
        closers: Called in reverse order once no call runs any more.
        dependencies: What the server needs.
    """

    starters: list[Callable[[], object]] = field(default_factory=list)
    closers: list[Callable[[], object]] = field(default_factory=list)
    dependencies: list[Dependency] = field(default_factory=list)

    def add(self, work: Repeated) -> None:
        """Adds repeated work."""
        self.starters.append(work.start)
        self.closers.append(work.close)


def remote_verifier(settings: ServerSettings, life: Life) -> TokenVerifier:
    """A verifier with the keys of the users server; the server is not ready before they have arrived.

    Raises:
        ContractError: The settings do not say where the users server is.
    """
    if not settings.users_address:
        raise ContractError("nothing can verify tokens: set users_address (MLMESH_USERS_ADDRESS), or pass a verifier")
    from servers.runtime.users_client import remote_keys

    keys = remote_keys(settings)
    life.starters.append(keys.start)
    life.closers.append(keys.close)
    life.dependencies.append(Dependency("keys", keys.check_arrived))
    # Without it, known tokens still work: degraded, not down.
    life.dependencies.append(Dependency("users", keys.check_reachable, is_required=False))
    return TokenVerifier(keys, settings.issuer, settings.audience, keys, leeway_s=settings.token_leeway_s)


@dataclass(frozen=True)
class Records:
    """What a server keeps of the calls that change something.

    Args:
        sink: Takes audit events.
        interceptors: What answers repeated requests.
    """

    sink: AuditSink
    interceptors: list[Interceptor]


def records(settings: ServerSettings, database: Engine | None, life: Life, audit: AuditSink | None) -> Records:
    """Audit events and kept answers in the component's database; without one the log takes the events, and nothing is answered twice.

    Args:
        settings: The server's settings.
        database: The component's database.
        life: What starts and ends with the server.
        audit: Takes the events instead.
    """
    if database is None:
        return Records(audit or LogAuditSink(), [])
    from servers.runtime.interceptors.idempotency import IdempotencyInterceptor
    from servers.runtime.outcomes import OutcomeWriter
    from servers.runtime.replays import RENEW_INTERVAL_S, ReplayStore

    outcomes = OutcomeWriter(database)
    life.starters.append(outcomes.start)
    life.closers.append(outcomes.close)
    store = ReplayStore(database, str(uuid.uuid4()), outcomes)
    life.add(Repeated("replay-leases", store.renew, RENEW_INTERVAL_S))
    life.add(Repeated("replay-purge", store.purge, _PURGE_INTERVAL_S))
    return Records(audit or _outbox(settings, database, outcomes, life), [IdempotencyInterceptor(store)])


def _outbox(settings: ServerSettings, database: Engine, outcomes: OutcomeWriter, life: Life) -> AuditSink:
    from servers.runtime.audit import AuditShipper, OutboxAuditSink

    sink = OutboxAuditSink(database, outcomes)
    if not settings.users_address or settings.service_key_file is None:
        _LOGGER.warning("audit events stay in the component's database: users_address or service_key_file is not set")
        return sink
    from servers.runtime.service_identity import ServiceCredentials
    from servers.runtime.users_client import AuditClient

    identity = ServiceCredentials.from_settings(settings)
    client = AuditClient(settings, identity)
    life.closers += [identity.close, client.close]
    life.add(Repeated("audit-shipper", AuditShipper(database, client.append).ship, _SHIP_INTERVAL_S))
    return sink
