"""`lookalike models`: list them; make, sign, check and show bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.commands.output import JsonOption, complain, print_json, print_table
from api.commands.session import open_client, require_local
from lookalike.errors import BadModel

app = typer.Typer(no_args_is_help=True, help="The models that collections can be given, and bundles that carry them.")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """List the models at hand; LOOKALIKE_MODELS and LOOKALIKE_IMAGE_MODELS can name more."""
    with open_client() as client:
        found = list(client.models())
    if as_json:
        print_json({"items": found})
    else:
        print_table(("name", "kind", "default"), [(m["name"], m["kind"], "yes" if m["default"] else "") for m in found])


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
    export: Annotated[Path, typer.Argument(exists=True, file_okay=False, metavar="EXPORT", help="A run's export.")],
    key: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="What `models keygen` wrote.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The bundle's file.")] = Path("model.lkb"),
) -> None:
    """Make one signed file of a trained model's export folder."""
    from embedder.bundles import read_export
    from embedder.models import write_atomically
    from security.bundle_file import read_maker, write_bundle

    manifest, parts = read_export(export)
    data = write_bundle(manifest.text, parts, read_maker(key))
    write_atomically(out, data)
    print(f"wrote {out}: {manifest.name}, {manifest.kind.value}, {len(data) / 1e6:.1f} MB")
    print(f"use it: LOOKALIKE_{'IMAGE_' if manifest.kind.value == 'image' else ''}MODELS='[\"bundle:{out}\"]'")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A bundle's file, or the name of a shipped one.")],
    as_json: JsonOption = False,
) -> None:
    """Check signature, hashes and manifest, then load the model and try it on a drawn picture."""
    import numpy as np

    from api.bundles import load_bundle, open_named
    from embedder.images import encode_jpeg

    settings = require_local("models verify")
    manifest, opened = open_named(settings, name)
    settings = settings.model_copy(update={"accepted_licences": (manifest.name,)})  # to look at it is no use of it
    encoder, known = load_bundle(settings, manifest.kind, name)
    drawn = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    vectors = encoder.encode_crops([encode_jpeg(drawn)]).vectors
    if vectors.shape != (1, manifest.dimension) or abs(float(np.linalg.norm(vectors)) - 1) > 1e-3:
        raise BadModel(f"the model {manifest.name!r} gives no unit vectors of {manifest.dimension} numbers")
    facts = {
        "name": manifest.name,
        "kind": manifest.kind.value,
        "model": manifest.model,
        "dimension": manifest.dimension,
        "licence": manifest.licence.id,
        "commercial": manifest.licence.commercial,
        "calibrated": known is not None,
        "runtime": encoder.runtime,
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
def show(
    name: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A bundle's file, or the name of a shipped one.")],
    as_json: JsonOption = False,
) -> None:
    """Show a bundle's card, or with --json its whole manifest."""
    import json

    from api.bundles import open_named

    manifest, opened = open_named(require_local("models show"), name)
    if as_json:
        print_json(json.loads(manifest.text))
        return
    print(opened.parts.get("card.md", f"# {manifest.name}\n\n{manifest.data}".encode()).decode("utf-8", "replace"))
