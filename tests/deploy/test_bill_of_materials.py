from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy import bill_of_materials
from deploy.bill_of_materials import (
    LicenceUnknown,
    bill_of,
    copyright_of,
    licences_of,
    parts_in,
)


def installed(site: Path, name: str, metadata: str, *, files: tuple[str, ...] = ()) -> None:
    """Put a package into `site`, with a licence file."""
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}"
    (folder / "METADATA").write_text(text)
    (folder / "LICENSE").write_text(f"The licence of {name}.\n")
    inside = [f"{folder.name}/LICENSE", f"{folder.name}/METADATA", *files]
    (folder / "RECORD").write_text("".join(f"{file},,\n" for file in inside))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    own = "License-Expression: MIT\nSummary: a relay\nRequires-Dist: Zope.Interface>=5; extra\n"
    installed(site, "syslogrelay", f"{own}Requires-Dist: absent\n")
    installed(
        site, "zope-interface", "License: ZPL-2.1\n", files=("zope.libs/libz-1.so.1", "zope.py")
    )
    installed(site, "old", "Classifier: License :: OSI Approved :: BSD License\nLicense: BSD\n")
    installed(site, "either", "License-Expression: Apache-2.0 OR MIT\n")
    return site


def test_all_packages_are_listed_with_their_licences(site: Path) -> None:
    bill = json.loads(json.dumps(bill_of(parts_in(site))))
    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/syslogrelay@1.0"
    assert {part["name"]: part["licenses"] for part in bill["components"]} == {
        "either": [{"expression": "Apache-2.0 OR MIT"}],
        "old": [{"license": {"id": "BSD-3-Clause"}}],
        "zope-interface": [{"license": {"id": "ZPL-2.1"}}],
    }
    needed = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert needed["pkg:pypi/syslogrelay@1.0"] == ["pkg:pypi/zope-interface@1.0"]


def test_libraries_that_a_wheel_brings_along_are_named(site: Path) -> None:
    parts = parts_in(site)
    bundled = [part.bundled for part in parts if part.bundled]
    assert bundled == [("libz-1.so.1",)]
    assert "zope-interface 1.0: ZPL-2.1\n        with libz-1.so.1\n" in copyright_of(parts, "Own.")


def test_the_same_packages_give_the_same_bill(site: Path) -> None:
    first, second = bill_of(parts_in(site)), bill_of(parts_in(site))
    assert first == second
    installed(site, "more", "License-Expression: MIT\n")
    assert bill_of(parts_in(site))["serialNumber"] != first["serialNumber"]


def test_a_licence_text_stands_there_once(site: Path) -> None:
    (site / "old-1.0.dist-info/LICENSE").write_text("The licence of either.\n")
    text = licences_of(parts_in(site))
    assert text.count("The licence of either.") == 1
    assert "old: LICENSE\n\nThe same as either: LICENSE, above." in text


def test_a_licence_that_is_no_spdx_expression_is_an_error(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(site, "odd", "License: do what you like\n")
    with pytest.raises(LicenceUnknown, match=r"odd: found the licence .'do what you like'."):
        parts_in(site)
    assert bill_of_materials.main([str(site), str(site)]) == 1
    assert "add its name to deploy/bill_of_materials.py" in capsys.readouterr().err


def test_three_files_are_written(site: Path, tmp_path: Path) -> None:
    assert bill_of_materials.main([str(site), str(tmp_path)]) == 0
    assert json.loads((tmp_path / "sbom.cdx.json").read_text())["specVersion"] == "1.6"
    assert (tmp_path / "copyright").read_text().startswith("The licence of syslogrelay.\n")
    assert "The licence of old." in (tmp_path / "licences.txt").read_text()


def test_our_own_licence_has_to_be_there(tmp_path: Path) -> None:
    installed(tmp_path, "other", "License-Expression: MIT\n")
    assert bill_of_materials.main([str(tmp_path), str(tmp_path)]) == 1
    assert bill_of_materials.main([]) == 2


def test_a_package_beside_ours_has_a_bill_of_its_own(tmp_path: Path) -> None:
    installed(tmp_path, "client", "License-Expression: Apache-2.0\nRequires-Dist: codec\n")
    installed(tmp_path, "codec", "License-Expression: MIT\n")
    assert bill_of_materials.main([str(tmp_path), str(tmp_path), "client"]) == 0
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert bill["metadata"]["component"]["name"] == "client"
    assert [part["name"] for part in bill["components"]] == ["codec"]
    assert (tmp_path / "copyright").read_text().startswith("client: Apache-2.0\n")
