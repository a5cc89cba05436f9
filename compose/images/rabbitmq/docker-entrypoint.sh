#!/bin/sh
# What the official image does: root makes the data folder the server's own and becomes its user.
set -e

case "$1" in
rabbitmq*)
  if [ "$(id -u)" = 0 ]; then
    if [ "$1" = rabbitmq-server ]; then
      find /var/lib/rabbitmq \! -user rabbitmq -exec chown rabbitmq '{}' +
    fi
    exec setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups -- "$0" "$@"
  fi
  ;;
esac

exec "$@"
