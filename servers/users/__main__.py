"""`python -m servers.users`: serves, or does what an operator needs with the server's own database.

python -m servers.users                              serve
python -m servers.users verify-audit                 recompute the audit log; exit code 1 where it was tampered with
python -m servers.users rotate-keys [--withdraw]     make a new signing key; with --withdraw, end every token at once
python -m servers.users reset-password USERNAME      set and print a new password, for when nobody can log in
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from servers.runtime.errors import DomainError
from servers.runtime.server import run
from servers.users.audit_log import Checkpoint
from servers.users.composition import Domain, build, open_domain
from servers.users.passwords import generated_password
from servers.users.recovery import reset_password
from servers.users.settings import UsersSettings

__all__ = ["UsersSettings", "build", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Of the command line; None = those of the process.

    Returns:
        Exit code.
    """
    options = _parser().parse_args(arguments)
    settings = UsersSettings()
    if options.command is None:
        return run(lambda: build(settings, show_password=partial(_show_password, settings.admin_username)))
    domain = open_domain(settings)
    try:
        return int(options.run(domain, options))
    except DomainError as error:
        print(error.message, file=sys.stderr)
        return 1
    finally:
        domain.engine.dispose()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m servers.users", description="The users server; settings come from MLMESH_USERS_*.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="instead of serving")
    verify = commands.add_parser("verify-audit", help="recompute the audit log and compare it with the checkpoints kept outside of it")
    verify.add_argument("--checkpoint", type=_checkpoint, metavar="SEQUENCE:HASH", help="one more checkpoint, from a place of your own")
    verify.set_defaults(run=_verify_audit)
    rotate = commands.add_parser("rotate-keys", help="make a new key that signs tokens")
    rotate.add_argument("--withdraw", action="store_true", help="end every token signed so far at once: somebody may have the old key")
    rotate.set_defaults(run=_rotate_keys)
    reset = commands.add_parser("reset-password", help="set a new password and print it; ends the user's sessions and lock")
    reset.add_argument("username")
    reset.set_defaults(run=_reset_password)
    return parser


def _checkpoint(text: str) -> Checkpoint:
    sequence, _, digest = text.partition(":")
    if not sequence.isdecimal() or len(digest) != 64:
        raise argparse.ArgumentTypeError("a checkpoint is SEQUENCE:HASH, for example 17: and 64 hexadecimal digits")
    return Checkpoint(int(sequence), digest.lower())


def _verify_audit(domain: Domain, options: argparse.Namespace) -> int:
    verdict = domain.audit_log.verify(options.checkpoint)
    if not verdict.is_intact:
        print(f"TAMPERED WITH: of {verdict.event_count} events, number {verdict.first_bad_sequence} is the first that is wrong or missing")
        return 1
    end = verdict.checkpoint
    print(f"intact: {verdict.event_count} events")
    print(f"checkpoint to keep elsewhere: {end.sequence}:{end.hash}")
    return 0


def _rotate_keys(domain: Domain, options: argparse.Namespace) -> int:
    domain.signing_keys.rotate(withdraw=options.withdraw)
    print("every token has ended; clients log in again" if options.withdraw else "a new key is published; it signs once everyone has it")
    return 0


def _reset_password(domain: Domain, options: argparse.Namespace) -> int:
    password = generated_password()
    reset_password(domain.accounts, options.username, password)
    print(f"new password of {options.username}: {password}")
    return 0


def _show_password(username: str, password: str) -> None:
    print(f"\n  The mesh has a new administrator. Log in as\n\n      user      {username}\n      password  {password}\n")
    print("  This password is shown once and stored nowhere; change it with ChangePassword.\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
