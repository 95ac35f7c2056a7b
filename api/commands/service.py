"""`lookalike serve` and `lookalike demo`: run the service, or see it at work."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from api.commands.session import require_local


def serve() -> None:
    """Run the service until SIGTERM or Ctrl-C. Settings come from LOOKALIKE_* and lookalike.toml."""
    from api.app import create_app
    from api.commands.owners import require_own_packages
    from api.onprem import forbid_core_dumps, look, require_strong
    from api.server import serve as serve_forever
    from api.wiring import open_services
    from lookalike.profiles import require_profile
    from lookalike.settings import Profile

    require_own_packages()
    settings = require_local("serve")
    if settings.profile is Profile.ONPREM:
        forbid_core_dumps()
        require_profile(settings)
        require_strong(settings, look(settings))
    services = open_services(settings, live=True)
    try:
        if services.first_key is not None and settings.bootstrap_key_file is None:
            print(f"admin key, shown this once: {services.first_key}", flush=True)
        serve_forever(services, create_app(services), _tell)
    finally:
        services.close()


def _tell(url: str) -> None:
    print(f"ready {url}\nconsole {url}/", flush=True)


def demo(
    people: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A folder with a folder of pictures per person.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="The archives of requirements-photos.lock.")
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="Where to put the annotated picture.")] = Path(
        "demo-output"
    ),
    seed: Annotated[int, typer.Option(help="Which people of the folder are drawn.")] = 1,
) -> None:
    """Start the service, enrol people, identify other pictures of them and refuse strangers."""
    from api.demo import run_demo

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up as after Ctrl-C
    if not run_demo(people, photos, out, seed):
        typer.echo("lookalike: nobody was recognised, or no stranger was refused", err=True)
        raise typer.Exit(1)
