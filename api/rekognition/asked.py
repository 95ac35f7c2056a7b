"""What every operation is handed besides its input: the services, who asks, and the region they chose to name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lookalike.answers import Caller

if TYPE_CHECKING:
    from api.wiring import Services


@dataclass(frozen=True, slots=True)
class Asked:
    """region: as the signature names it; the service is in none, and only echoes it."""

    services: Services
    caller: Caller
    region: str
