"""The packages as files: what lintian, rpm and the schema of CycloneDX say of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from deploy.build_packages import ADD_ON, COMPLETIONS, HOME, SITE

DIST = Path(__file__).parents[2] / "dist"
EXPECTED = (
    *(
        "usr/bin/syslogrelay",
        "usr/lib/systemd/system/syslogrelay.service",
        "etc/syslogrelay/conf.d",
    ),
    *("usr/lib/systemd/system/syslogrelay.socket", "usr/lib/sysusers.d/syslogrelay.conf"),
    *("usr/share/man/man1/syslogrelay.1.gz", "usr/share/man/man5/syslogrelay.toml.5.gz"),
    *("usr/share/man/man8/syslogrelay.8.gz", f"{HOME}/bin/python3.11", f"{HOME}/pyvenv.cfg"),
    *("usr/share/doc/syslogrelay/sbom.cdx.json", "usr/share/doc/syslogrelay/licences.txt"),
    f"{SITE}/relay/codec/lines.cpython-311-x86_64-linux-gnu.so",
    # For `top`, for `import` of YAML, and for NATS.
    *(f"{SITE}/{name}/__init__.py" for name in ("textual", "yaml", "nats")),
    *COMPLETIONS.values(),
)


ADD_ON_DOCUMENTS = f"usr/share/doc/{ADD_ON}"
ADD_ON_EXPECTED = (
    f"{SITE}/confluent_kafka/__init__.py",
    *(f"{ADD_ON_DOCUMENTS}/{name}" for name in ("copyright", "licences.txt", "sbom.cdx.json")),
)


def newest(pattern: str) -> Path:
    found = sorted(DIST.glob(pattern), key=lambda path: path.stat().st_mtime)
    assert found, f"there is no {pattern} in dist/: make deb rpm"
    return found[-1]


def said(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lintian_finds_no_error() -> None:
    said("lintian", "--fail-on", "error", newest("syslogrelay_*.deb"), newest(f"{ADD_ON}_*.deb"))


def test_the_add_on_is_librdkafka_for_the_same_environment_and_no_more() -> None:
    deb, base = newest(f"{ADD_ON}_*.deb"), newest("syslogrelay_*.deb")
    names = names_in(deb)
    assert set(ADD_ON_EXPECTED) - names == set()
    assert any("confluent_kafka.libs/librdkafka" in name for name in names)
    both = {name for name in names & names_in(base) if not is_folder(deb, name)}
    assert both == set()
    version = said("dpkg-deb", "--field", base, "Version").strip().removesuffix("-1")
    depends = said("dpkg-deb", "--field", deb, "Depends")
    assert f"syslogrelay (>= {version}), libc6 (>= 2." in depends
    assert not any("confluent_kafka" in name for name in names_in(base))


def names_in(deb: Path) -> set[str]:
    lines = said("dpkg-deb", "--contents", deb).splitlines()
    return {line.split()[5].removeprefix("./").rstrip("/") for line in lines}


def is_folder(deb: Path, name: str) -> bool:
    lines = said("dpkg-deb", "--contents", deb).splitlines()
    return any(line.startswith("d") and line.split()[5] == f"./{name}/" for line in lines)


def test_the_deb_has_what_belongs_to_it_and_nothing_of_the_build() -> None:
    lines = said("dpkg-deb", "--contents", newest("syslogrelay_*.deb")).splitlines()
    names = names_in(newest("syslogrelay_*.deb"))
    sizes = {line.split()[5].removeprefix("./"): line.split()[2] for line in lines}
    assert [name for name in COMPLETIONS.values() if sizes.get(name) == "0"] == []
    assert set(EXPECTED) - names == set()
    odd = (".pyc", ".pyx", "/tests", "direct_url.json", ".git", "logrotate")
    assert [name for name in names if any(part in name for part in odd)] == []
    assert {line.split()[1] for line in lines} == {"root/root"}


def test_its_configuration_is_a_conffile_and_it_needs_the_python_that_it_has() -> None:
    deb = newest("syslogrelay_*.deb")
    assert said("dpkg-deb", "--info", deb, "conffiles") == "/etc/syslogrelay/relay.toml\n"
    depends = said("dpkg-deb", "--field", deb, "Depends")
    assert "python3 (>= 3.11), python3 (<< 3.12), libc6 (>= 2." in depends


def test_the_rpm_has_the_same_files(tmp_path: Path) -> None:
    rpm = newest("syslogrelay-[0-9]*.rpm")
    query = ("rpm", "--dbpath", tmp_path, "--query", "--nosignature")
    names = {line.lstrip("/") for line in said(*query, "--list", "--package", rpm).splitlines()}
    assert set(EXPECTED) - names == set()
    assert said(*query, "--configfiles", "--package", rpm) == "/etc/syslogrelay/relay.toml\n"
    assert "python3.11" in said(*query, "--requires", "--package", rpm).splitlines()
    for phase in ("postinstall", "preuninstall", "postuninstall"):
        assert f"{phase} scriptlet" in said(*query, "--scripts", "--package", rpm)


def test_the_bill_of_materials_follows_its_schema(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    subprocess.run(
        ["dpkg-deb", "--extract", newest("syslogrelay_*.deb"), tmp_path], check=True, timeout=120
    )
    text = (tmp_path / "usr/share/doc/syslogrelay/sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    named = {part["name"] for part in json.loads(text)["components"]}
    folders = {path.name.partition("-")[0] for path in (tmp_path / SITE).glob("*.dist-info")}
    assert {name.replace("-", "_") for name in named} == {
        folder.replace("-", "_").replace(".", "_").lower() for folder in folders
    } - {"syslogrelay"}
