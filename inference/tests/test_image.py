"""The image and the files that describe it are consistent."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent.parent
README = (HERE / "README.md").read_text()
DOCKERFILE = (HERE / "Dockerfile").read_text()


def test_the_contract_runs_on_the_images_version_of_vllm() -> None:
    [version] = re.findall(r"^FROM vllm/vllm-openai:v([\d.]+)$", DOCKERFILE, re.M)
    contract = (HERE.parent / "tests/vllm/main.ts").read_text()
    assert f'const version = "{version}";' in contract
    assert f"vllm/vllm-openai:v{version}`" in DOCKERFILE, "the comment on the digest"


def test_the_package_pins_what_the_image_installs() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    pins = [line for line in (HERE / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert [name for name in project["dependencies"] if "==" in name] == pins


def test_the_readme_explains_every_setting_and_error() -> None:
    source = "".join(path.read_text() for path in (HERE / "tunebase_inference").glob("*.py"))
    settings = {name for name in re.findall(r'"((?:TUNEBASE|PORT)[A-Z_]*)"', source)}
    assert settings and [name for name in sorted(settings) if f"`{name}`" not in README] == []
    codes = set(re.findall(r'(?:adapter_error\(|RequestError\(\d+, )\s*"(\w+)"', source))
    # A disconnected client does not get its 499.
    assert [code for code in sorted(codes - {"client_closed"}) if f"`{code}`" not in README] == []


def test_the_ports_of_the_image_are_exposed() -> None:
    ports = re.findall(r"PORT(?:_HEALTH)?=(\d+)", DOCKERFILE)
    assert f"EXPOSE {' '.join(ports)}" in DOCKERFILE
