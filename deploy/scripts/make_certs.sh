#!/usr/bin/env bash
# Make the credentials of a run on several machines:
#
#   deploy/scripts/make_certs.sh DIR [DAYS]
#
# DIR gets ca.pem and token (for every host), read_token (with ca.pem, for users who only call
# `launch.py status`), learner.pem and learner.key (with the tokens, only for the learner's host)
# and ca.key (for no host: store it safely, it signs new certificates). DAYS: validity, 365.
# An existing CA is used again, existing tokens are kept. A second call renews the learner's
# certificate, which a running learner loads by itself; and ca.pem if that expires within
# a month, with the same key: then copy ca.pem to every host.
set -euo pipefail
umask 077

if [ $# -lt 1 ] || [ $# -gt 2 ] || [ "${1#-}" != "$1" ]; then
  echo "usage: deploy/scripts/make_certs.sh DIR [DAYS]" >&2
  exit 2
fi
days=${2:-365}
mkdir -p "$1"
cd "$1"

# In place: the file keeps its owner, and stays the one that is mounted into a container.
replace() {
  cat "$1.new" >"$1"
  rm "$1.new"
}

if [ -f ca.pem ] && [ ! -f ca.key ]; then
  echo "make_certs.sh: error: $PWD: got ca.pem and no ca.key, which signs; wanted it back here," \
    "or no ca.pem for a new CA, which every host then needs" >&2
  exit 2
fi
if [ ! -f ca.key ]; then
  openssl ecparam -name prime256v1 -genkey -noout -out ca.key
fi
if ! openssl x509 -checkend $((30 * 86400)) -noout -in ca.pem >/dev/null 2>&1; then
  openssl req -x509 -new -key ca.key -sha256 -days "$days" -subj "/CN=efficientzero cluster" \
    -addext "keyUsage=critical,keyCertSign" -out ca.pem.new
  replace ca.pem
fi
openssl ecparam -name prime256v1 -genkey -noout -out learner.key.new
openssl req -new -key learner.key.new -subj "/CN=learner.efficientzero" |
  openssl x509 -req -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -sha256 \
    -days "$days" -extfile <(printf '%s\n' \
    "subjectAltName=DNS:learner.efficientzero" "extendedKeyUsage=serverAuth") \
    -out learner.pem.new 2>/dev/null
replace learner.key
replace learner.pem
[ -f token ] || openssl rand -hex 32 >token
[ -f read_token ] || openssl rand -hex 32 >read_token
echo "$(pwd): ca.pem and token for every host, ca.pem and read_token for who only looks," \
  "learner.pem, learner.key and both tokens for the learner's host"
