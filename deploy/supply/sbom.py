"""The bill of materials of an installation, CycloneDX 1.6: python -m deploy.supply.sbom [--installed FOLDER] --out FILE

Packages are those that the lock pins, with versions, licences and needs as they are installed and the hashes that the
lock allows; models are those of licences.toml. With --installed it is an error if the folder holds anything else. The
same installation gives the same bytes: the serial number comes from the content, and no time is in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.supply.inventory import Package, differences, installed, locked, normal
from deploy.supply.licences import ROOT, Policy, licence_of, read_policy

PRODUCT = "lookalike"
NAMESPACE = uuid.UUID("6f7a3d0e-3c0b-5b0e-9a53-0f7c8f1d2b64")
Json = dict[str, object]


def bill(product: Package, packages: Sequence[Package], policy: Policy, direct: Sequence[str]) -> Json:
    """The document. packages: of the lock, as installed; direct: normal names of what the product itself needs."""
    components = [_library(package, policy) for package in sorted(packages, key=lambda package: package.name)]
    components += [_model(name, model) for name, model in sorted(policy.models.items())]
    names = {package.name: _purl(package) for package in packages}
    needs: dict[str, Sequence[str]] = {_purl(product): direct} | {_purl(each): each.needs for each in packages}
    document: Json = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": _purl(product),
                "name": product.name,
                "version": product.version,
                "purl": _purl(product),
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(names[name] for name in wanted if name in names)}
            for ref, wanted in sorted(needs.items())
        ],
    }
    content = json.dumps(document, sort_keys=True)
    return document | {"serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}"}


def as_text(document: Json) -> str:
    """The document's only form."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _purl(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _library(package: Package, policy: Policy) -> Json:
    licence = licence_of(package, policy)
    return {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
        "licenses": [{"expression": licence}] if licence else [{"license": {"name": package.licence or "unknown"}}],
        # The lock allows several files of one release: for other processors and versions of Python.
        "externalReferences": [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{package.name}/{package.version}/",
                "hashes": [{"alg": "SHA-256", "content": each} for each in sorted(package.hashes)],
            }
        ],
    }


def _model(name: str, model: Mapping[str, str]) -> Json:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}",
        "name": name,
        "version": model["sha256"][:12],
        "description": f"{model['file']}; {model['note']}",
        "hashes": [{"alg": "SHA-256", "content": model["sha256"]}],
        "licenses": [{"expression": model["licence"]}],
    }


def read_bill(lock: Path, folder: Path | None, version: str, direct: Sequence[str]) -> Json:
    """The document of what is installed in `folder`, or of the lock's part of this environment.

    Raises: ValueError that names each package which is not as the lock has it.
    """
    wanted, found = locked(lock), installed(None if folder is None else [folder])
    if folder is None:
        found = {name: package for name, package in found.items() if name in wanted}
    if wrong := differences(wanted, found, PRODUCT):
        raise ValueError("; ".join(wrong))
    packages = [
        Package(name, found[name].version, found[name].licence, found[name].needs, wanted[name].hashes)
        for name in wanted
    ]
    return bill(Package(PRODUCT, version), packages, read_policy(), direct)


def product(pyproject: Path) -> tuple[str, list[str]]:
    """The product's version, and the normal names of what it needs to serve."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    return project["version"], [normal(Requirement(line).name) for line in project["dependencies"]]


def main() -> int:
    """Write the document. Returns 1, and says what, if the installation is not what the lock pins."""
    parser = argparse.ArgumentParser(description="The bill of materials of a serving installation.")
    parser.add_argument("--installed", type=Path, metavar="FOLDER", help="site-packages of another environment")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    chosen = parser.parse_args()
    try:
        document = read_bill(chosen.lock, chosen.installed, *product(ROOT / "pyproject.toml"))
    except ValueError as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    chosen.out.write_text(as_text(document), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
