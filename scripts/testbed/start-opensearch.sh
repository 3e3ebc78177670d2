#!/usr/bin/env bash
# Starts one OpenSearch 2.19 node with kuromoji and without security on 127.0.0.1 and prints its URL. Does nothing when
# it already runs, unless settings are given: a running node can't take them, so that is an error.
#   start-opensearch.sh [--keep] [--without-kuromoji] [SETTING=VALUE...]
#     --keep               with the indexes of the last run (default: empty)
#     --without-kuromoji   a cluster that knows no Japanese analyzer
#     SETTING=VALUE        a node setting, such as http.max_content_length=1mb or thread_pool.write.queue_size=1
#
# OPENSEARCH_PORT  its port (default 9200); a second node on another port is a cluster of its own
# OPENSEARCH_HEAP  the JVM's heap (default 512m)
# TESTBED_RUN      pid file, log and data (default: testbed/run in the user cache)
# TESTBED_JIT      c2: compiled as thoroughly as in production (default c1: starts quickly)
# JAVA_HOME        a JDK 17 or newer (default: the one on PATH, else one that is installed)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

keep='' kuromoji=true settings=()
for argument in "$@"; do
  case $argument in
    -h | --help)
      show_help
      exit
      ;;
    --keep) keep=1 ;;
    --without-kuromoji) kuromoji=false ;;
    *=*) settings+=("$argument") ;;
    *) die "unknown argument $argument, see --help" ;;
  esac
done

port=${OPENSEARCH_PORT:-9200}
heap=${OPENSEARCH_HEAP:-512m}
home=$testbed_run/opensearch-$port
sources=("$testbed_dir"/opensearch/src/testbed/*.java)
pom=$testbed_dir/opensearch/pom.xml

# The node's classes, named after what they were compiled from.
compile() {
  local classes=$1 jars=$2 part
  [[ -d $classes ]] && return
  part=$(mktemp -d "$testbed_cache/classes.XXXXXX")
  "$java_home/bin/javac" -proc:none --release "$minimum_java" -cp "$jars/*" -d "$part" "${sources[@]}" >&2 ||
    die "the OpenSearch node of the test bed did not compile against $jars"
  mv -T "$part" "$classes"
}

start() {
  if running_pid "$testbed_run/opensearch-$port.pid" >/dev/null; then
    [[ ${#settings[@]} == 0 && $kuromoji == true ]] ||
      die "OpenSearch already runs on port $port: stop-opensearch.sh first, then start it with other settings"
  else
    [[ -n $keep ]] || rm -rf "$home"
    mkdir -p "$home"
  fi
  ensure_java
  local jars classes
  jars=$testbed_cache/opensearch-$(sha256sum <"$pom" | cut -c1-12)
  maven_jars "$jars" "$pom"
  classes=$testbed_cache/opensearch-classes-$(cat "$pom" "${sources[@]}" | sha256sum | cut -c1-12)
  compile "$classes" "$jars"
  choose_compiler
  # G1, since OpenSearch's memory breaker counts on it.
  start_server opensearch "$port" '/_cluster/health?wait_for_status=yellow&timeout=1s' 120 \
    "$java_home/bin/java" -Xms"$heap" -Xmx"$heap" -XX:+UseG1GC "${java_compiler[@]}" -Dlog4j2.level=INFO \
    -cp "$classes:$jars/*" testbed.TestNode "$home" "$kuromoji" http.port="$port" "${settings[@]}"
}
with_server_lock opensearch "$port" start
