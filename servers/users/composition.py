"""Puts the users server together."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlops.users.v1.users_service_pb2_grpc import add_UserServiceServicer_to_server
from sqlalchemy import Engine

from servers.runtime.auth import LocalKeys, TokenVerifier
from servers.runtime.background import Repeated
from servers.runtime.calls import current_call
from servers.runtime.component import database_dependency
from servers.runtime.database import open_database
from servers.runtime.server import PUBLIC, Registration, Server, build_server
from servers.users.access_tokens import TokenIssuer
from servers.users.accounts import Accounts
from servers.users.api_keys import ApiKeys
from servers.users.audit_checkpoints import SEED_BYTES, CheckpointFile
from servers.users.audit_log import AuditLog
from servers.users.audit_sink import LocalAuditSink
from servers.users.catalogue import Catalogue
from servers.users.converters import permissions_in_contracts
from servers.users.first_start import FirstStart, Places
from servers.users.housekeeping import Housekeeping
from servers.users.key_exchange import KeyExchange
from servers.users.lockout import LockoutPolicy
from servers.users.logins import Logins, SessionPolicy
from servers.users.passwords import PasswordCost, PasswordHasher
from servers.users.rights import Withdrawal
from servers.users.roles import Roles
from servers.users.secret_files import read_or_create_secret, write_secret
from servers.users.servicer import UsersServicer
from servers.users.settings import UsersSettings
from servers.users.signing_keys import SEALING_KEY_BYTES, RotationPolicy, SigningKeys
from servers.users.store.credential_rows import revoked_groups
from sql_engine import engine_url

_CLOCK_MARGIN_S = 60.0
_MIGRATIONS = Path(__file__).parent / "migrations"


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def new_uuid() -> str:
    """A random UUID."""
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Domain:
    """Everything behind the contract.

    Args:
        engine: The database.
        signing_keys: Signs tokens.
        api_keys: Keeps API keys.
        accounts: Keeps users.
        roles: Keeps roles and bindings.
        logins: Gives tokens.
        issuer: Makes access tokens.
        audit_log: Keeps the audit log.
        checkpoints: Keeps checkpoints of it.
        first_start: Makes an empty mesh usable.
        catalogue: Knows the permissions.
        clock: The time now.
        token_lifetime_s: Longest life of an access token, in seconds, with room for clocks that differ.
        lockout: When guessing is slowed down.
    """

    engine: Engine
    signing_keys: SigningKeys
    api_keys: ApiKeys
    accounts: Accounts
    roles: Roles
    logins: Logins
    issuer: TokenIssuer
    audit_log: AuditLog
    checkpoints: CheckpointFile
    first_start: FirstStart
    catalogue: Catalogue
    clock: Callable[[], datetime]
    token_lifetime_s: float
    lockout: LockoutPolicy

    def revoked(self) -> list[str]:
        """Token groups that ended early and may have unexpired tokens."""
        with self.engine.connect() as connection:
            return revoked_groups(connection, self.clock())


def open_domain(
    settings: UsersSettings, clock: Callable[[], datetime] = utc_now, on_attempt: Callable[[str], object] = lambda _user_id: None
) -> Domain:
    """Opens the database and puts the domain on it.

    Args:
        settings: Settings of the server.
        clock: The time now.
        on_attempt: Told the identifier of the user whom a login is about.

    Returns:
        The domain. Its engine is to be disposed of.

    Raises:
        ValueError: The database URL, or a file with a secret, cannot be read.
        OSError: A file cannot be read or written.
    """
    _protect_database_file(settings)
    engine = open_database(settings, _MIGRATIONS)
    token_lifetime_s = settings.access_token_lifetime_s + settings.token_leeway_s + _CLOCK_MARGIN_S
    withdrawal = Withdrawal(token_lifetime_s, new_uuid)
    sealing_key = read_or_create_secret(settings.secret(settings.sealing_key_file, "users.kek"), SEALING_KEY_BYTES)
    audit_seed = read_or_create_secret(settings.secret(settings.audit_key_file, "audit.key"), SEED_BYTES)
    rotation = RotationPolicy(settings.signing_key_period_s, settings.signing_key_publish_ahead_s, token_lifetime_s)
    signing_keys = SigningKeys(engine, sealing_key, rotation, clock)
    issuer = TokenIssuer(signing_keys, settings.issuer, settings.audience, settings.access_token_lifetime_s, clock)
    passwords = _password_hasher(settings)
    lockout = LockoutPolicy(settings.lockout_free_attempts, settings.lockout_first_s, settings.lockout_longest_s, settings.lockout_forget_s)
    sessions = SessionPolicy(settings.session_lifetime_s, settings.refresh_idle_s)
    catalogue = Catalogue(lambda: permissions_in_contracts(settings.descriptor_file.read_bytes()))
    checkpoints = CheckpointFile(settings.audit_checkpoint_file or settings.data_dir / "audit-checkpoints.jsonl", audit_seed, clock)
    api_keys = ApiKeys(engine, withdrawal, clock, new_uuid)
    roles = Roles(engine, catalogue.names, withdrawal, clock)
    return Domain(
        engine=engine,
        signing_keys=signing_keys,
        api_keys=api_keys,
        accounts=Accounts(engine, passwords, withdrawal, clock),
        roles=roles,
        logins=Logins(engine, passwords, api_keys, issuer, withdrawal, lockout, sessions, clock, new_uuid, on_attempt=on_attempt),
        issuer=issuer,
        audit_log=AuditLog(engine, checkpoints.read),
        checkpoints=checkpoints,
        first_start=FirstStart(engine, roles, api_keys, passwords, clock, new_uuid),
        catalogue=catalogue,
        clock=clock,
        token_lifetime_s=token_lifetime_s,
        lockout=lockout,
    )


def build(
    settings: UsersSettings,
    *,
    show_password: Callable[[str], object] | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Server:
    """Puts the server together, and makes an empty mesh usable.

    Args:
        settings: Settings of the server.
        show_password: Takes the generated password of the first administrator, once. None = it is put into
            `settings.first_password_file` (mode 0600), for whoever shows and removes it.
        clock: The time now.

    Returns:
        A server to start.

    Raises:
        ValueError: The database URL, or a file with a secret, cannot be read.
        OSError: A file cannot be read or written.
    """
    domain = open_domain(settings, clock, _name_resource)
    password = domain.first_start.prepare(settings.admin_username, places_of(settings))
    if password is not None:
        (show_password or _password_writer(settings))(password)
    keys = LocalKeys(domain.signing_keys.public_keys, domain.revoked)
    servicer = UsersServicer(
        logins=domain.logins,
        accounts=domain.accounts,
        roles=domain.roles,
        api_keys=domain.api_keys,
        audit_log=domain.audit_log,
        catalogue=domain.catalogue,
        signing_keys=domain.signing_keys,
        revoked=domain.revoked,
        clock=clock,
    )
    exchange = KeyExchange(domain.api_keys, domain.issuer, keys.is_revoked, settings.key_exchange_cache_s)
    sink = LocalAuditSink(domain.engine, domain.audit_log)
    housekeeping = Housekeeping(domain.engine, domain.signing_keys, sink, domain.lockout, clock)
    background = (
        Repeated("users-housekeeping", housekeeping.run, settings.housekeeping_interval_s),
        Repeated("audit-checkpoints", lambda: domain.checkpoints.add(domain.audit_log.end()), settings.audit_checkpoint_interval_s),
    )
    server = build_server(
        settings,
        [Registration(add_UserServiceServicer_to_server, servicer), _external_authorization(exchange)],
        component=settings.component,
        dependencies=[database_dependency(domain.engine)],
        database=domain.engine,
        verifier=TokenVerifier(
            keys, settings.issuer, settings.audience, keys, leeway_s=settings.token_leeway_s, clock=lambda: clock().timestamp()
        ),
        audit=sink,
        # The last thing before the database closes: the checkpoint of an orderly stop.
        on_close=[lambda: domain.checkpoints.add(domain.audit_log.end()), *(repeated.close for repeated in background)],
    )
    for repeated in background:
        repeated.start()
    return server


def places_of(settings: UsersSettings) -> Places:
    """Where keys are put."""
    return Places(
        token_file=settings.token_file or settings.data_dir / "token",
        service_key_file=settings.secret(settings.service_key_file, "mesh.key"),
    )


def _external_authorization(exchange: KeyExchange) -> Registration:
    # Envoy's contract has no policies of ours: it carries its own proof, the key in the request it asks about.
    from envoy.service.auth.v3.external_auth_pb2_grpc import add_AuthorizationServicer_to_server

    from servers.users.external_authorization import ExternalAuthorization

    return Registration(add_AuthorizationServicer_to_server, ExternalAuthorization(exchange), policy=PUBLIC)


def _password_hasher(settings: UsersSettings) -> PasswordHasher:
    cost = PasswordCost(settings.password_memory_kib, settings.password_iterations, settings.password_lanes)
    return PasswordHasher(
        cost, parallelism=settings.password_parallelism, waiting=settings.password_waiting, wait_s=settings.password_wait_s
    )


def _password_writer(settings: UsersSettings) -> Callable[[str], object]:
    file = settings.secret(settings.first_password_file, "initial-admin-password")
    return lambda password: write_secret(file, f"{password}\n".encode("ascii"))


def _protect_database_file(settings: UsersSettings) -> None:
    """Makes a new SQLite file readable for its owner only; its write-ahead log inherits that."""
    url = engine_url(settings.database_url, settings.component)
    if url.get_backend_name() == "sqlite" and url.database:
        file = Path(url.database)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)


def _name_resource(user_id: str) -> None:
    """Has the audit event of a login name the user it was about."""
    current_call().resource = user_id
