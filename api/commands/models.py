"""`lookalike models`: carry a trained model from an export folder to a running service, and back again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands.output import JsonOption, complain, print_json, print_table
from api.commands.session import open_client, require_local
from lookalike.errors import BadBundle, BadSettings, InvalidInput, NoEarlierModel

if TYPE_CHECKING:
    from api.client_shapes import ActivationJson, ModelJson
    from lookalike.settings import Settings
    from security.bundle_file import Maker

app = typer.Typer(no_args_is_help=True, help="Import models, and say which one new collections get.")

AcceptOption = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the licence of a model that is not for commercial use.")
]
KeyOption = Annotated[
    Path | None, typer.Option("--key", help="Sign with this maker's key instead of the deployment's own.")
]
FromOption = Annotated[Path | None, typer.Option("--from", help="Where the file of well-known weights lies.")]
HashOption = Annotated[
    str | None, typer.Option("--sha256", help="Its SHA-256, for weights of which none is pinned here.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]

SHOWN_METRICS = 2


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the models at hand: imported bundles, built-in ones, and those that the settings name."""
    with open_client() as client:
        found = list(client.models())
    if as_json:
        print_json({"items": found})
        return
    rows = []
    for model in found:
        bundle = model["bundle"]
        facts = (bundle["licence"], _yes(bundle["commercial"]), _metrics(bundle["metrics"])) if bundle else ("", "", "")
        rows.append((model["name"], model["kind"], "yes" if model["default"] else "", *facts))
    print_table(("name", "kind", "default", "licence", "commercial", "metrics"), rows)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A model at hand, or a bundle's file.")],
    as_json: JsonOption = False,
) -> None:
    """Show what is known of a model: licence, training data, figures, who signed it; of a file its card or manifest."""
    from api.bundles import PREFIX

    if name.startswith(PREFIX) or Path(name).is_file():
        _show_file(name, as_json)
        return
    with open_client() as client:
        found = client.model(name)
    if as_json:
        print_json(found)
    else:
        _show(found)


@app.command()
def keygen(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="The private key's file; OUT.pub gets the public one.")],
) -> None:
    """Make a key to sign bundles with."""
    from security.bundle_file import new_maker

    new_maker(out)
    print(f"wrote {out}, which signs: keep it to yourself")
    print(f"wrote {out}.pub, which services trust that name it in LOOKALIKE_MODEL_SIGNERS")


@app.command()
def pack(
    source: Annotated[str, typer.Argument(metavar="EXPORT", help="A run's export, or the name of known weights.")],
    key: KeyOption = None,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The bundle's file.")] = Path("model.lkb"),
    weights: FromOption = None,
    sha256: HashOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make one signed file of a trained model's export folder."""
    from security.whole_files import write_whole

    data = _packed(source, key, weights, sha256)
    write_whole(out, [data], "the bundle")
    if as_json:
        print_json({"file": str(out), "bytes": len(data)})
    else:
        print(f"wrote {out}, {len(data) / 1e6:.1f} MB")
        print(f"`lookalike models import {out}` brings it into a service")


@app.command("import")
def import_(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A bundle, an export folder, or the name of well-known weights.")
    ],
    key: KeyOption = None,
    weights: FromOption = None,
    sha256: HashOption = None,
    accept_licence: AcceptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a model, try it out and keep it; collections can be given it from then on."""
    from lookalike.settings import read_settings

    path = Path(source)
    data = _read(path, read_settings()) if path.is_file() else _packed(source, key, weights, sha256)
    with open_client() as client:
        found = client.import_model(data, accept_licence=accept_licence)
    if as_json:
        print_json(found)
        return
    name, bundle = found["name"], found["bundle"]
    print(f"imported {name}, signed by {bundle['maker'] if bundle else '?'}")
    if bundle and not bundle["commercial"]:
        print(f"licence: {bundle['licence']}, not for commercial use. {bundle['note']}".rstrip())
    print(f"`lookalike models activate {name}` gives it to new collections")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A bundle's file, or the name of a shipped one.")],
    as_json: JsonOption = False,
) -> None:
    """Check signature, hashes and manifest, then load the model and embed two pictures; nothing is kept."""
    from api.bundles import open_named, try_out
    from embedder.bundles import CALIBRATION
    from lookalike.settings import read_settings

    settings = read_settings()
    makers = _makers(settings)
    manifest, opened = open_named(settings, name, makers)
    encoder = try_out(settings, manifest, opened.parts)
    facts = {
        "name": manifest.name,
        "kind": manifest.kind.value,
        "model": manifest.model,
        "dimension": manifest.dimension,
        "licence": manifest.licence.id,
        "commercial": manifest.licence.commercial,
        "calibrated": CALIBRATION in opened.parts,
        "runtime": encoder.runtime,
        "maker": makers[opened.maker],
        "signed_by": opened.maker.hex(),
        "bytes": {part: len(data) for part, data in opened.parts.items()},
    }
    if as_json:
        print_json(facts)
        return
    print_table(("what", "value"), [(key, str(value)) for key, value in facts.items()])
    if not manifest.licence.commercial:
        complain(f"the licence does not allow commercial use: {manifest.licence.note}")


@app.command()
def activate(name: NameArgument, accept_licence: AcceptOption = False, as_json: JsonOption = False) -> None:
    """Give new collections of the model's kind this model; those that exist keep theirs."""
    with open_client() as client:
        found = client.activate_model(name, accept_licence=accept_licence)
    _show_activation(found, as_json)


@app.command()
def rollback(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The active model; needed if several are.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give new collections what they got before the active model."""
    with open_client() as client:
        if name is None:
            active = [model["name"] for model in client.models() if model["default"] and model["bundle"]]
            if len(active) != 1:
                several = (
                    f"several bundles are active, say which of {', '.join(active)}" if active else "none is active"
                )
                raise NoEarlierModel(several)
            name = active[0]
        found = client.roll_back_model(name)
    _show_activation(found, as_json)


@app.command()
def remove(name: NameArgument) -> None:
    """Forget a bundle that no collection uses, and delete its file."""
    with open_client() as client:
        client.remove_model(name)
    print(f"removed {name}")


# ----------------------------------------------------------------------------------------------- signing


def _packed(source: str, key: Path | None, weights: Path | None, sha256: str | None) -> bytes:
    """A signed bundle of an export folder or of well-known weights. Raises: BadModel, InvalidInput, BadSettings."""
    from embedder.bundles import parts_named, read_export, read_manifest
    from embedder.known_weights import KNOWN, make_export
    from security.bundle_file import write_bundle

    folder = Path(source)
    if folder.is_dir():
        manifest, parts = read_export(folder)
    elif source in KNOWN:
        fields, parts = make_export(source, weights, sha256)
        manifest = read_manifest(parts_named(fields, parts))
    else:
        known = ", ".join(KNOWN)
        raise InvalidInput(f"{source}: no such file or export folder, nor the name of well-known weights ({known})")
    return write_bundle(manifest.text, parts, _signer(key))


def _signer(path: Path | None) -> Maker:
    """Raises: BadSettings."""
    from security.bundle_file import read_maker
    from security.makers import own_maker

    if path is not None:
        return read_maker(path)
    from api.commands.vault import open_vault

    with open_vault(require_local("signing with the deployment's own key")) as vault:
        return own_maker(vault.keyring)


def _makers(settings: Settings) -> dict[bytes, str]:
    """Those that are trusted here; the deployment itself only where its data folder is."""
    from api.commands.vault import open_vault
    from security.makers import own_maker, trusted_makers

    if settings.url is not None or not settings.data.is_dir():
        return trusted_makers(settings.model_signers)
    with open_vault(settings) as vault:
        return trusted_makers(settings.model_signers, own_maker(vault.keyring))


def _read(path: Path, settings: Settings) -> bytes:
    """Raises: BadBundle for a file beyond the limit; BadSettings where it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(settings.max_bundle_bytes + 1)
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > settings.max_bundle_bytes:
        raise BadBundle(
            f"{path} has more than the {settings.max_bundle_bytes} bytes that a bundle may have; "
            "LOOKALIKE_MAX_BUNDLE_BYTES raises that"
        )
    return data


# ---------------------------------------------------------------------------------------------- printing


def _show_file(name: str, as_json: bool) -> None:
    """A bundle's card, or its whole manifest."""
    import json

    from api.bundles import open_named
    from lookalike.settings import read_settings

    settings = read_settings()
    manifest, opened = open_named(settings, name, _makers(settings))
    if as_json:
        print_json(json.loads(manifest.text))
        return
    print(opened.parts.get("card.md", f"# {manifest.name}\n\n{manifest.data}".encode()).decode("utf-8", "replace"))


def _show(model: ModelJson) -> None:
    rows: list[tuple[str, object]] = [("name", model["name"]), ("kind", model["kind"])]
    rows.append(("default", _yes(model["default"])))
    bundle = model["bundle"]
    if bundle is not None:
        rows += [(field, bundle[field]) for field in ("dimension", "maker", "licence")]
        rows += [("commercial", _yes(bundle["commercial"])), ("licence accepted", _yes(bundle["accepted"]))]
        rows += [("note", bundle["note"]), ("data", bundle["data"]), ("bytes", bundle["bytes"])]
        rows += [("parts", ", ".join(bundle["parts"])), ("imported", bundle["imported_at"])]
        rows += [(f"metric {name}", _metric(value)) for name, value in bundle["metrics"].items()]
        rows += [(f"made {name}", value) for name, value in bundle["provenance"].items() if isinstance(value, str)]
    print_table(("field", "value"), rows)


def _show_activation(found: ActivationJson, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    if found["model"] is None:
        print("there is no model for new collections of this kind now")
        return
    print(f"new collections of kind {found['kind']} get {found['model']}")
    for other in found["others"]:
        name = other["collection"]
        print(f"{name} uses {other['model']}: `lookalike reindex {name} --model {found['model']}` moves it")


def _metrics(metrics: Mapping[str, Any]) -> str:
    """The first few, for a line of a table."""
    return ", ".join(f"{name} {_metric(metrics[name])}" for name in sorted(metrics)[:SHOWN_METRICS])


def _metric(value: object) -> str:
    """A metric as bundles have it, {"value", "low", "high", "on"}, or whatever stands there."""
    if not isinstance(value, Mapping) or not isinstance(value.get("value"), int | float):
        return str(value)
    between = f" ({value['low']:.3f} to {value['high']:.3f})" if _has_interval(value) else ""
    on = f" on {value['on']}" if value.get("on") else ""
    return f"{value['value']:.3f}{between}{on}"


def _has_interval(value: Mapping[str, object]) -> bool:
    return all(isinstance(value.get(end), int | float) for end in ("low", "high"))


def _yes(value: bool) -> str:
    return "yes" if value else "no"
