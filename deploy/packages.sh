# Sourced by quickstart, check and bench/run: installs what deploy/packages.txt lists and dpkg does
# not have. Nothing is asked, and nothing is looked up on the network, when nothing is missing.
# shellcheck shell=bash

# install_packages ask|yes KIND...: the packages of these kinds.
install_packages() {
  local consent=$1 list kind package answer
  local -a missing=() as_root=()
  shift
  list="$(dirname -- "${BASH_SOURCE[0]}")/packages.txt"
  if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian system: have the equivalents of $list installed."
    return 0
  fi
  for kind in "$@"; do
    while read -r package; do
      # A package that dpkg has never heard of is as missing as one that was removed.
      [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] ||
        missing+=("$package")
    done < <(awk -v kind="$kind" '$1 == kind { print $2 }' "$list")
  done
  ((${#missing[@]})) || return 0

  if ((EUID != 0)); then
    as_root=(sudo)
    if ! command -v sudo >/dev/null; then
      echo "As root, first install: ${missing[*]}" >&2
      return 1
    fi
  fi
  echo "These Debian packages are missing: ${missing[*]}"
  if [[ $consent != yes ]]; then
    if [[ ! -t 0 ]]; then
      echo "Run this again with --yes to install them." >&2
      return 1
    fi
    read -r -p "Install them with '${as_root[*]:+${as_root[*]} }apt-get install'? [y/N] " answer
    [[ $answer == [yY]* ]] || return 1
  fi
  "${as_root[@]}" apt-get update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}
