#!/usr/bin/env bash
# Brings Docker Compose v2 where it is missing, from Debian trixie's archive, without touching the machine's own package lists.
# Debian bookworm has version 1 only, which is at its end of life. For root it serves everybody, else the user alone.
set -euo pipefail

if docker compose version --short >/dev/null 2>&1; then
  echo "docker compose $(docker compose version --short) is here already"
  exit 0
fi
for program in docker apt-get dpkg-deb; do
  command -v "$program" >/dev/null || { echo "$0: needs $program, as Debian and Ubuntu have it" >&2; exit 2; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial"
# Checked like everything else that apt fetches: the key of trixie is part of the keyring of bookworm.
echo "deb http://deb.debian.org/debian trixie main" >"$work/sources.list"
options=(-qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State::lists=$work/lists" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
  -o APT::Sandbox::User=root -o Acquire::http::Timeout=20 -o Acquire::Retries=2)
apt-get "${options[@]}" update
(cd "$work" && apt-get "${options[@]}" download docker-compose && dpkg-deb -x docker-compose_*.deb files)

if [ "$(id -u)" = 0 ]; then
  folder=/usr/local/lib/docker/cli-plugins
else
  folder=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
fi
mkdir -p "$folder"
install -m 755 "$work/files/usr/libexec/docker/cli-plugins/docker-compose" "$folder/docker-compose"
echo "docker compose $(docker compose version --short) is now in $folder"
