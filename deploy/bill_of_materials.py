"""Say what is in a package: a bill of materials (CycloneDX 1.6), and everybody's licences.

    python -m deploy.bill_of_materials SITE_PACKAGES FOLDER [NAME]

writes sbom.cdx.json, copyright (the names of licences) and licences.txt (their texts) into FOLDER.
SITE_PACKAGES is the folder that the packages of a Python environment are in, and NAME that of them
which the others are for, syslogrelay if it is not given.  The same packages give the same files: no
time and no random number is in them.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import Distribution, PackagePath, distributions
from pathlib import Path
from typing import cast

OWN = "syslogrelay"
_LICENCE_FILE = re.compile(r"(?i)(.*/)?(licen[cs]e|copying|copyright|notice)[^/]*")
_EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")
_CLASSIFIER = "License :: "
_NAMES = {  # what old metadata says, by its SPDX name
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "3-Clause BSD License": "BSD-3-Clause",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "OSI Approved :: BSD License": "BSD-3-Clause",
    "OSI Approved :: MIT License": "MIT",
    "OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "OpenLDAP BSD": "OLDAP-2.8",
    "OSI Approved :: OpenLDAP BSD License": "OLDAP-2.8",
    "OSI Approved :: Python Software Foundation License": "PSF-2.0",
    "ZPL 2.1": "ZPL-2.1",
}
_OF_LICENCE_TEXT = 3000  # characters of a licence that is written in full where its name belongs


class LicenceUnknown(Exception):
    """A package does not say under which licence it is."""


@dataclass(frozen=True)
class Part:
    """One package of a Python environment."""

    name: str
    version: str
    licence: str
    """As SPDX writes it."""
    summary: str
    requires: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]
    """Its licence files: name and content."""
    bundled: tuple[str, ...]
    """Shared libraries of others that a wheel has brought along."""

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"


def parts_in(folder: Path) -> list[Part]:
    """What is installed in `folder`, in the order of names.

    Raises:
        LicenceUnknown: Of one of them.
    """
    found = {part.name: part for part in map(_part, distributions(path=[str(folder)]))}
    return [found[name] for name in sorted(found)]


def _part(distribution: Distribution) -> Part:
    metadata = cast(Message, distribution.metadata)
    files = distribution.files or []
    licences = [file for file in files if _is_licence(file)]
    return Part(
        name=_plain(str(metadata["Name"])),
        version=distribution.version,
        licence=_licence(metadata),
        summary=str(metadata["Summary"] or ""),
        requires=tuple(sorted({_plain(each) for each in distribution.requires or []})),
        texts=tuple((file.name, file.locate().read_text(errors="replace")) for file in licences),
        bundled=tuple(sorted(file.name for file in files if ".libs/" in str(file))),
    )


def _is_licence(file: PackagePath) -> bool:
    return ".dist-info/" in str(file) and _LICENCE_FILE.fullmatch(str(file)) is not None


def _plain(requirement: str) -> str:
    """The name in a requirement, as the index normalises it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else ""


def _licence(metadata: Message) -> str:
    expression = metadata["License-Expression"]
    if expression:
        return str(expression)
    classifiers = [
        str(each).removeprefix(_CLASSIFIER)
        for each in metadata.get_all("Classifier", [])
        if str(each).startswith(_CLASSIFIER)
    ]
    named = [*classifiers, str(metadata["License"] or "")]
    known = {_NAMES[each] for each in named if each in _NAMES}
    if known:
        return " OR ".join(sorted(known))
    short = named[-1].strip()
    if _EXPRESSION.fullmatch(short) and len(short) < _OF_LICENCE_TEXT:
        return short
    raise LicenceUnknown(
        f"{metadata['Name']}: found the licence {named!r}, which is no SPDX expression; add its "
        "name to deploy/bill_of_materials.py"
    )


def bill_of(parts: list[Part], own_name: str = OWN) -> dict[str, object]:
    """The bill of materials, as the JSON of CycloneDX 1.6."""
    own = next(part for part in parts if part.name == own_name)
    listed = {part.name: part for part in parts}
    digest = hashlib.sha256("".join(part.purl for part in parts).encode()).digest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=4)}",
        "version": 1,
        "metadata": {"component": _component(own, "application")},
        "components": [_component(part, "library") for part in parts if part is not own],
        "dependencies": [
            {
                "ref": part.purl,
                "dependsOn": [listed[name].purl for name in part.requires if name in listed],
            }
            for part in parts
        ],
    }


def _component(part: Part, kind: str) -> dict[str, object]:
    is_expression = re.search(r" (AND|OR|WITH) ", part.licence) is not None
    licence: dict[str, object] = {"expression": part.licence}
    bundled = [{"name": "syslogrelay:bundled", "value": name} for name in part.bundled]
    return {
        "type": kind,
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        **({"description": part.summary} if part.summary else {}),
        "licenses": [licence if is_expression else {"license": {"id": part.licence}}],
        "purl": part.purl,
        **({"properties": bundled} if bundled else {}),
    }


def copyright_of(parts: list[Part], own_licence: str) -> str:
    """The names of all licences, for /usr/share/doc/PACKAGE/copyright.

    Args:
        own_licence: The text of ours.
    """
    lines = [
        own_licence,
        "The package has an environment of its own with the Python packages that it needs.",
        "licences.txt beside this file has their licences, sbom.cdx.json lists them for programs.",
        "On Debian, Apache-2.0 is in /usr/share/common-licenses/Apache-2.0 as well.",
        "",
    ]
    for part in parts:
        lines.append(f"    {part.name} {part.version}: {part.licence}")
        if part.bundled:
            lines.append(f"        with {', '.join(part.bundled)}")
    return "\n".join(lines) + "\n"


def licences_of(parts: list[Part]) -> str:
    """The texts of all licences, each once."""
    seen: dict[str, str] = {}
    lines = []
    for part in parts:
        for name, text in part.texts:
            title = f"{part.name}: {name}"
            lines += ["-" * 78, title, ""]
            lines += [f"The same as {seen[text]}, above." if text in seen else text.strip("\n"), ""]
            seen.setdefault(text, title)
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3):
        print("usage: bill_of_materials.py SITE_PACKAGES FOLDER [NAME]", file=sys.stderr)
        return 2
    site, folder = map(Path, arguments[:2])
    own_name = arguments[2] if arguments[2:] else OWN
    try:
        parts = parts_in(site)
    except LicenceUnknown as error:
        print(error, file=sys.stderr)
        return 1
    own = next((part for part in parts if part.name == own_name), None)
    if own is None or not own.texts:
        print(f"{site}: there is no {own_name} with its licence in it", file=sys.stderr)
        return 1
    bill = json.dumps(bill_of(parts, own_name), indent=1, ensure_ascii=False)
    (folder / "sbom.cdx.json").write_text(bill + "\n")
    # Debian has the texts of common licences, and wants no copies of them in this file.
    head = own.texts[0][1] if own_name == OWN else f"{own.name}: {own.licence}\n"
    (folder / "copyright").write_text(copyright_of(parts, head))
    (folder / "licences.txt").write_text(licences_of(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
