"""`lookalike principals`: who comes with access tokens and client certificates, and blocking them at once."""

from __future__ import annotations

from typing import Annotated

import typer

from api.commands.output import JsonOption, print_json, print_table
from api.commands.session import open_client

app = typer.Typer(
    no_args_is_help=True, help="See who comes with access tokens and client certificates, and block them."
)

Principal = Annotated[
    str | None, typer.Argument(metavar="[PRINCIPAL]", help="oidc:… or cert:…, as the audit log has it.")
]
Subject = Annotated[str | None, typer.Option(help="Instead: the `sub` of a person's tokens.")]
Certificate = Annotated[str | None, typer.Option(help="Instead: the SHA-256 fingerprint of one certificate.")]


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List who came with rights, and who is blocked."""
    with open_client() as client:
        found = client.principals()
    if as_json:
        print_json(found)
        return
    print_table(
        ("principal", "name", "subject", "grants", "seen", "blocked"),
        [
            (
                each["principal"],
                each["name"] or "",
                each.get("subject", ""),
                ", ".join(
                    f"{g['role']}:{g['collection']}" if g.get("collection") else g["role"] for g in each["grants"]
                ),
                each["seen_at"],
                "blocked" if each["blocked"] else "",
            )
            for each in found["items"]
        ],
        title="Seen",
    )
    print_table(
        ("blocked", "by", "since", "reason"),
        [(b["blocked"], b["by"] or "", b["at"] or "", b["reason"] or "") for b in found["blocks"]],
        title="Blocked",
    )


@app.command()
def block(
    principal: Principal = None,
    subject: Subject = None,
    certificate: Certificate = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is sealed, and shown in the list.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse somebody on every replica within seconds, whatever their token or certificate still says."""
    with open_client() as client:
        done = client.block_principal(principal=principal, subject=subject, certificate=certificate, reason=reason)
    if as_json:
        print_json(done)
    else:
        print(f"blocked {done['blocked']}")


@app.command()
def unblock(
    principal: Principal = None, subject: Subject = None, certificate: Certificate = None, as_json: JsonOption = False
) -> None:
    """Let somebody in again."""
    with open_client() as client:
        client.unblock_principal(principal=principal, subject=subject, certificate=certificate)
    if as_json:
        print_json({"unblocked": principal or subject or certificate})
    else:
        print("unblocked")
