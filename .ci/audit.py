"""Looks up known vulnerabilities of what ships: the packages that users get, not those of tests. Run by ./check.

    python .ci/audit.py

Exit status 1 where pip-audit knows one; 0 where it knows none, or where its service cannot be reached, which is said.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9._-]+")


def shipped(package: str = "iaa-nodes") -> dict[str, str]:
    """The packages that a user of ``package`` gets without extras, with the versions that are installed here."""
    found: dict[str, str] = {}
    wanted = [package]
    while wanted:
        name = wanted.pop()
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another platform
            continue
        key = distribution.metadata["Name"].lower()
        if key in found:
            continue
        found[key] = distribution.version.partition("+")[0]
        required = [line for line in distribution.requires or [] if "extra ==" not in line]
        wanted += [match[0] for line in required if (match := NAME.match(line))]
    del found[package]
    return found


def main() -> int:
    """Audits and prints what there is to say."""
    versions = shipped()
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in sorted(versions.items())))
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json"]
        done = subprocess.run(
            [*command, "--progress-spinner", "off", "--requirement", str(listed)], capture_output=True, text=True
        )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(f"NOT CHECKED: known vulnerabilities, since pip-audit failed: {done.stderr.strip()[-300:]}")
        return 0
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if unknown:
        print(f"NOT CHECKED: known vulnerabilities of {', '.join(unknown)}, of which pip-audit's service says nothing.")
    bad = [(package, each) for package in packages for each in package.get("vulns", [])]
    for package, each in bad:
        fixed = ", ".join(each["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {each['id']}, fixed in {fixed}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
