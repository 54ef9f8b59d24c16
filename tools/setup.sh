#!/usr/bin/env bash
# Installs what a Makefile target needs, and says so.  Usage: tools/setup.sh PART…
#
#   bootstrap     .cache/bootstrap: uv and nox, from requirements/bootstrap.txt
#   venv          .venv: rundlet (editable) and all that its tests and checks import
#   debian-walk   Debian packages that `make walk` needs
#   debian-test   Debian packages that the tests compare rundlet with
#   debian-rig    Debian packages that the conformance suite's images are made with
#   debian-vm     QEMU, criu and AppArmor's parser, and Debian's cloud kernel unpacked in .cache/vm, not installed
#
# Doing a part twice costs a few milliseconds.  Without root or apt the Debian
# parts only say what is missing: the tests that need it are skipped by name.
set -euo pipefail
cd "$(dirname "$0")/.."

WALK_PACKAGES="redis-server:redis-server"
# package:command, or package:absolute path of a file that proves it is there
TEST_PACKAGES="$WALK_PACKAGES runc:runc crun:crun skopeo:skopeo umoci:umoci docker-registry:docker-registry
  containernetworking-plugins:/usr/lib/cni/bridge nftables:nft iptables:iptables iproute2:ip
  uidmap:newuidmap passt:pasta slirp4netns:slirp4netns gpg:gpg gpg-agent:gpg-agent postgresql-15:/usr/lib/postgresql/15/bin/postgres podman:podman conmon:conmon containerd:containerd busybox-static:busybox libseccomp2:/usr/lib/$(uname -m)-linux-gnu/libseccomp.so.2"

RIG_PACKAGES="docker-registry:docker-registry busybox-static:busybox openssl:openssl iproute2:ip gcc:gcc
  libc6-dev:/usr/lib/$(uname -m)-linux-gnu/libc.a"

# The guest's programs are this machine's: criu with iptables and ip for checkpoints, the parser of profiles.
VM_PACKAGES="qemu-system-x86:qemu-system-x86_64 busybox-static:busybox systemd:/lib/systemd/systemd
  criu:criu iptables:iptables iproute2:ip apparmor:apparmor_parser checkpolicy:checkpolicy"

say() { printf 'setup: %s\n' "$*" >&2; }

present() {
  case "$1" in
    /*) [ -e "$1" ] ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# A fresh package must not start its service (redis on 6379, a registry on 5000).
without_services() {
  local policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then "$@"; return; fi
  trap 'rm -f /usr/sbin/policy-rc.d' RETURN EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  "$@"
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2 &&
    without_services apt-get install -y -qq --no-install-recommends "$@" >&2
}

debian() {
  local missing="" item
  for item in $*; do
    present "${item#*:}" || missing="$missing ${item%%:*}"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "not installed, and not root on Debian:$missing"
    return 0
  fi
  say "apt-get install$missing"
  apt_install $missing || say "apt-get failed; going on without:$missing"
}

# The first Python >= 3.11 that can make virtual environments.
find_python() {
  local python
  for python in python3.11 python3 /usr/bin/python3 python3.12 python3.13; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$python" -c 'import sys; print(sys.executable)'
      return 0
    fi
  done
  return 1
}

python_or_install() {
  if ! find_python; then
    debian python3-venv:/usr/lib/python3.11/ensurepip
    find_python || { say "no Python 3.11 or newer with the venv module"; return 1; }
  fi
}

# stamped STAMP INPUT… : true while STAMP is newer than every INPUT
stamped() {
  local stamp="$1" input
  shift
  [ -e "$stamp" ] || return 1
  for input in "$@"; do [ "$stamp" -nt "$input" ] || return 1; done
}

bootstrap() {
  local home=.cache/bootstrap
  stamped "$home/.ready" requirements/bootstrap.txt && return 0
  say "$home: uv and nox"
  rm -rf "$home"
  "$(python_or_install)" -m venv "$home"
  "$home/bin/python" -m pip install -q --disable-pip-version-check --require-hashes \
    -r requirements/bootstrap.txt
  touch "$home/.ready"
}

venv() {
  bootstrap
  stamped .venv/.ready requirements/lint.txt pyproject.toml && return 0
  say ".venv: rundlet and its dependencies"
  local uv="$PWD/.cache/bootstrap/bin/uv"
  [ -x .venv/bin/python ] || "$uv" venv -q --python "$(python_or_install)" .venv
  "$uv" pip install -q --python .venv/bin/python --require-hashes -r requirements/lint.txt
  "$uv" pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
  touch .venv/.ready
}

debian_vm() {
  debian $VM_PACKAGES
  compgen -G ".cache/vm/root/boot/vmlinuz-*" >/dev/null && return 0
  command -v apt-get >/dev/null || { say "no apt-get: no kernel for the guest"; return 0; }
  local package
  package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: \(linux-image-[0-9].*\)/\1/p')
  say ".cache/vm: $package"
  mkdir -p .cache/vm/root
  (cd .cache/vm && apt-get download -qq "$package" && dpkg-deb -x linux-image-*.deb root && rm linux-image-*.deb) ||
    say "no kernel for the guest: its tests are skipped"
}

for part in "$@"; do
  case "$part" in
    bootstrap) bootstrap ;;
    venv) venv ;;
    debian-walk) debian $WALK_PACKAGES ;;
    debian-test) debian $TEST_PACKAGES ;;
    debian-rig) debian $RIG_PACKAGES ;;
    debian-vm) debian_vm ;;
    *) say "no such part: $part"; exit 2 ;;
  esac
done
