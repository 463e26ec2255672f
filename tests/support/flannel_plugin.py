#!/usr/bin/python3
"""In place of Flannel's CNI plugin, whose module cannot be had: what flanneld wrote becomes a `bridge`.

As there the configuration for `bridge` and `host-local` is made from /run/flannel/subnet.env and kept until
DEL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SUBNET = Path("/run/flannel/subnet.env")
KEPT = Path("/var/lib/cni/flannel")


def delegate(given: dict[str, Any]) -> dict[str, Any]:
    """The configuration for `bridge`."""
    values = dict(line.split("=", 1) for line in SUBNET.read_text().splitlines() if line)
    ranges = [[{"subnet": values["FLANNEL_SUBNET"].replace(".1/", ".0/")}]]
    ipam = {"type": "host-local", "ranges": ranges, "routes": [{"dst": values["FLANNEL_NETWORK"]}]}
    wanted = {"type": "bridge", "isGateway": True, "ipMasq": values["FLANNEL_IPMASQ"] != "true"}
    wanted |= {"mtu": int(values["FLANNEL_MTU"]), "ipam": ipam}
    return {"name": given["name"], "cniVersion": given["cniVersion"], **wanted, **given["delegate"]}


def main() -> int:
    verb, given = os.environ["CNI_COMMAND"], json.load(sys.stdin)
    if verb == "VERSION":
        print(json.dumps({"cniVersion": "0.3.1", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0"]}))
        return 0
    kept = KEPT / os.environ["CNI_CONTAINERID"]
    if verb == "ADD":
        KEPT.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(delegate(given)))
    if not kept.exists():
        return 0
    bridge = Path(os.environ["CNI_PATH"].split(":")[0]) / "bridge"
    code = subprocess.run([bridge], input=kept.read_bytes(), check=False).returncode
    if verb == "DEL" and code == 0:
        kept.unlink()
    return code


if __name__ == "__main__":
    sys.exit(main())
