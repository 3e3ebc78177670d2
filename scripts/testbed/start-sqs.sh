#!/usr/bin/env bash
# Starts ElasticMQ, an SQS server, on 127.0.0.1 and prints its URL. Queues are made by API call and live in memory: a
# stop loses them. Does nothing when it already runs.
#   start-sqs.sh [--keep]     --keep is accepted as by the other scripts and changes nothing
#
# SQS_PORT     its port (default 9324)
# SQS_HEAP     the JVM's heap (default 256m)
# TESTBED_RUN  pid file and log (default: testbed/run in the user cache)
# TESTBED_JIT  c2: compiled as thoroughly as in production (default c1: starts quickly)
# JAVA_HOME    a JDK 17 or newer (default: the one on PATH, else one that is installed)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version=1.7.1 # as in sqs/pom.xml

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  '' | --keep) ;;
  *) die "unknown argument $1, see --help" ;;
esac

export SQS_PORT=${SQS_PORT:-9324}
jars=$testbed_cache/elasticmq-$version
ensure_java
maven_jars "$jars" "$testbed_dir/sqs/pom.xml"

choose_compiler
# The serial collector: a test server should stay small.
with_server_lock sqs "$SQS_PORT" start_server sqs "$SQS_PORT" /health 60 \
  "$java_home/bin/java" -Xms64m -Xmx"${SQS_HEAP:-256m}" -XX:+UseSerialGC "${java_compiler[@]}" \
  -Dconfig.file="$testbed_dir/sqs/elasticmq.conf" -cp "$jars/*" org.elasticmq.server.Main
