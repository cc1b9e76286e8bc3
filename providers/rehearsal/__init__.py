"""Emulators of OpenAI, Azure OpenAI and AWS Bedrock on loopback, spoken to by the vendors' own SDKs.

For tests and for `tenure rehearse`; no adapter imports this. What they do and don't imitate: docs/rehearsal.md.
"""

from providers.rehearsal.rehearsal import Rehearsal
from providers.rehearsal.world import BaseModel, Limits, Pace

__all__ = ["BaseModel", "Limits", "Pace", "Rehearsal"]
