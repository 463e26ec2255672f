#!/usr/bin/env bash
# Installs the system packages that building and testing need, and the pinned Python environment.
set -euo pipefail
venv=$1
cd "$(dirname "$0")/.."

# Downloads fail now and then: three attempts.
insist() {
  local pause
  for pause in 3 15; do
    "$@" && return
    sleep "$pause"
  done
  "$@"
}

packages=(
  buildah conntrack curl ethtool gcc git iproute2 iptables iputils-ping jq kmod libc6-dev libcap2-bin
  libseccomp-dev make mmdebstrap nftables pkg-config procps python3-venv skopeo smcroute socat util-linux
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]})); then
  if ((EUID != 0)); then
    echo "These packages are missing: ${missing[*]}. Run again as root, or install them." >&2
    exit 1
  fi
  echo "Installing ${missing[*]}"
  insist apt-get update -qq
  # A machine that has just started may be installing its updates: they are waited for.
  DEBIAN_FRONTEND=noninteractive insist apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends "${missing[@]}" >/dev/null
fi
command -v go >/dev/null || { echo "Go is missing: install Go 1.26 or newer and put it on the PATH." >&2; exit 1; }

for python in python3 python3.13 python3.12 python3.11; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
  python=
done
[[ -n $python ]] || { echo "Python 3.11 or newer is missing." >&2; exit 1; }

echo "Setting up the Python environment in $venv"
"$python" -m venv "$venv"
insist "$venv/bin/pip" install -q -r requirements-dev.lock
insist "$venv/bin/pip" install -q --no-deps -e .
