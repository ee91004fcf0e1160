"""The token of a submission in its job's comment."""

from __future__ import annotations

TOKEN_PREFIX = "hpcorch:"  # noqa: S105 - marks a submission, is no secret


def marked(comment: str | None, token: str) -> str:
    """A comment of the user's with the submission's token behind it."""
    mark = f"{TOKEN_PREFIX}{token}"
    return f"{comment} {mark}" if comment else mark
