"""What the audit log is to know of a call of this protocol, whose messages the runtime cannot read."""

from __future__ import annotations

from servers.runtime.calls import current_call
from servers.serving.model_source import ModelChoice


def note_model(choice: ModelChoice) -> ModelChoice:
    """Makes model and project of a choice those of the current call. Not for streams, whose next request would inherit the project."""
    call = current_call()
    call.project = choice.project
    call.resource = f"{choice.name}/versions/{choice.version or choice.alias}" if choice.version or choice.alias else choice.name
    return choice
