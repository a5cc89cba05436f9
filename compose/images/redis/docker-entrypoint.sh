#!/bin/sh
# What the official image does: options alone mean redis-server; root makes /data the server's own and becomes its user.
set -e

if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then
  set -- redis-server "$@"
fi

if [ "$1" = redis-server ]; then
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
  fi
  # The official server is compiled with protected mode off: what a container publishes is the engine's business.
  protected=default
  for word in "$@"; do
    case "$word" in
    --protected-mode) protected=told ;;
    *.conf) if grep -q '^ *protected-mode' "$word" 2>/dev/null; then protected=told; fi ;;
    esac
  done
  if [ "$protected" = default ]; then set -- "$@" --protected-mode no; fi
fi

# Files of the server are its own, unless somebody set another mask.
if [ "$(umask)" = 0022 ]; then umask 0077; fi

exec "$@"
