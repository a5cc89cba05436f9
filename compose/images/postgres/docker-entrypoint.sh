#!/usr/bin/env bash
# What the official image does: an empty PGDATA becomes a cluster with the user, password and database that were asked for,
# while nobody outside can reach it; then the server runs as its own user.
set -Eeuo pipefail

# The value of a variable, or of the file that VARIABLE_FILE names.
value() {
  local file="${1}_FILE"
  if [ -n "${!1:-}" ] && [ -n "${!file:-}" ]; then
    echo "error: both $1 and $file are set (but are exclusive)" >&2
    exit 1
  fi
  if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-$2}"; fi
}

make_cluster() {
  local user password database method listen
  user=$(value POSTGRES_USER postgres)
  password=$(value POSTGRES_PASSWORD '')
  database=$(value POSTGRES_DB "$user")
  method=${POSTGRES_HOST_AUTH_METHOD:-}
  if [ -z "$password" ] && [ "$method" != trust ]; then
    echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
    echo '       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser,' >&2
    echo '       or POSTGRES_HOST_AUTH_METHOD=trust to allow all connections without a password.' >&2
    exit 1
  fi
  # Like the official image, POSTGRES_INITDB_ARGS is several words.
  eval "initdb --username=\"\$user\" --pwfile=<(printf '%s\n' \"\$password\") ${POSTGRES_INITDB_ARGS:-}"
  {
    printf '\n'
    printf 'host all all all %s\n' "${method:-$(postgres -C password_encryption "$@")}"
  } >>"$PGDATA/pg_hba.conf"

  # The official image starts a server here in any case; where there is nothing to tell it, a cluster would come up later for it.
  shopt -s nullglob
  local scripts=(/docker-entrypoint-initdb.d/*)
  if [ "$database" = postgres ] && [ ${#scripts[@]} = 0 ]; then
    echo 'PostgreSQL init process complete; ready for start up.'
    return
  fi

  # A server on its socket only, for as long as the cluster is made.
  listen=(-c "listen_addresses=" -p 5432)
  NOTIFY_SOCKET='' PGUSER=$user pg_ctl -D "$PGDATA" -o "$(printf '%q ' "$@" "${listen[@]}")" -w start
  export PGPASSWORD=$password
  local sql=(psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --no-password)
  if [ "$database" != postgres ]; then
    "${sql[@]}" --dbname postgres --set db="$database" <<<'CREATE DATABASE :"db" ;'
  fi
  local script
  for script in "${scripts[@]}"; do
    case "$script" in
    *.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
    *.sql) "${sql[@]}" --dbname "$database" -f "$script" ;;
    *.sql.gz) gunzip -c "$script" | "${sql[@]}" --dbname "$database" ;;
    esac
  done
  PGUSER=$user pg_ctl -D "$PGDATA" -m fast -w stop
  unset PGPASSWORD
  echo 'PostgreSQL init process complete; ready for start up.'
}

if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi

if [ "$1" = postgres ]; then
  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA" || :
    find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    mkdir -p /var/run/postgresql
    chmod 3777 /var/run/postgresql || :
    find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$BASH_SOURCE" "$@"
  fi
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA" || :
  if [ ! -s "$PGDATA/PG_VERSION" ]; then
    make_cluster "${@:2}"
  else
    echo 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
  fi
fi

exec "$@"
