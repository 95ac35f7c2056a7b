#!/usr/bin/env bash
# Puts the node's configuration together in memory, since the root file system is read-only, and starts it.
set -euo pipefail
cp --recursive --no-preserve=mode /usr/share/elasticsearch/config/. "$ES_PATH_CONF"
cp --no-preserve=mode /lookalike/elasticsearch.yml /lookalike/roles.yml "$ES_PATH_CONF"
install -m 0600 /run/secrets/users /run/secrets/users_roles "$ES_PATH_CONF"
install -d -m 0700 "$ES_PATH_CONF/certs"
install -m 0600 /run/secrets/{ca.crt,node.crt,node.key} "$ES_PATH_CONF/certs"
exec /usr/share/elasticsearch/bin/elasticsearch
