# Our RPM on machines with systemd as PID 1, the worker on real servers. Two machines: `host`, which begins without an
# environment as an instance does, and `stuck`, which has one when it boots, and whose poll loop is stopped at once.
# The tests follow the life of the first machine; each leaves the worker as the next one wants it.

load support/common
load support/machine
load support/servers

setup_file() {
  use_servers
  the_rpm >/dev/null
  local name
  for name in host stuck; do
    make_world "$name" >"$BATS_FILE_TMPDIR/$name.env"
    (set -a && . "$BATS_FILE_TMPDIR/$name.env" && "$WORKER_BINARY" --create-index)
    machine_mount "$name"
    machine_rpm "$name" -i --nodeps "$(the_rpm)"
  done
  # Half a minute is how long a poll loop may take; the watchdog's own time-out need not be added to it here.
  mkdir "$(machine_root stuck)/etc/systemd/system/file-processor-worker.service.d"
  printf '[Service]\nWatchdogSec=4\n' >"$(machine_root stuck)/etc/systemd/system/file-processor-worker.service.d/test.conf"
  give_environment stuck
  machine_boot stuck
  stop_poll_loop stuck &
  machine_boot host
}

teardown_file() {
  machine_stop host
  machine_stop stuck
}

# give_environment NAME: the machine's environment file, as user data writes it.
give_environment() {
  install -m 0640 -g "$(awk -F: '$1 == "appuser" { print $3 }' "$(machine_root "$1")/etc/group")" \
    "$BATS_FILE_TMPDIR/$1.env" "$(machine_root "$1")/etc/file-processor/env"
}

# The poll loop runs on the main thread: it alone is stopped, what feeds the watchdog goes on.
stop_poll_loop() {
  local pid
  wait_for 60 "the worker to be ready" is "$1" ActiveState active || return
  pid=$(property "$1" MainPID)
  echo "$pid" >"$BATS_FILE_TMPDIR/$1.stopped"
  on_machine "$1" timeout 100 "$REPO_DIR/tests/deployment/support/stop_thread.py" "$pid" 3>&-
}

children_of_worker() { on_machine host pgrep -P "$(property host MainPID)"; }

messages() { aws_py queue-attributes "$(variable "$BATS_FILE_TMPDIR/host.env" SQS_QUEUE_URL)" | sed -n "s/^$1=//p"; }

# send_scan KEY PAGES [ORDER]: puts a scan into the bucket and tells the queue.
send_scan() {
  local bucket queue
  bucket=$(variable "$BATS_FILE_TMPDIR/host.env" S3_BUCKET)
  queue=$(variable "$BATS_FILE_TMPDIR/host.env" SQS_QUEUE_URL)
  "$REPO_DIR/tests/deployment/support/scan.py" "${@:2}" >"$BATS_TEST_TMPDIR/scan.pdf"
  aws_py put-object "$bucket" "$1" "$BATS_TEST_TMPDIR/scan.pdf"
  aws_py notify "$queue" "$bucket" "$1" "$BATS_TEST_TMPDIR/scan.pdf"
}

smoke_test() {
  on_machine host file-processor-worker smoke-test --env-file /etc/file-processor/env --timeout 60
}

# with_environment LINE...: the environment file with these lines added; the worker is not told.
with_environment() { printf '%s\n' "$@" >>"$(machine_root host)/etc/file-processor/env"; }

@test "before its environment is there the worker is enabled, does not run, and has not failed" {
  [ "$(on_machine host systemctl is-enabled file-processor-worker.service)" = enabled ]
  [ "$(on_machine host systemctl is-enabled file-processor-worker-check.timer)" = enabled ]
  is host ActiveState inactive
  is host ConditionResult no
  [ -z "$(on_machine host systemctl --failed --plain --no-legend | grep file-processor)" ]
}

@test "without an environment start-worker.sh says what is missing and exits 78" {
  run -78 on_machine host /usr/local/bin/start-worker.sh
  [[ $output == *"/etc/file-processor/env is missing"* ]]
}

@test "start-worker.sh proves everything in the service's environment and waits until the worker is ready" {
  give_environment host
  # As a person may leave it.
  chmod 0666 "$(machine_root host)/etc/file-processor/env"
  run -0 on_machine host /usr/local/bin/start-worker.sh --timeout 60
  [[ $output == *"ready: ready; idle, "* ]]
  is host ActiveState active
  run -0 on_machine host cat /var/log/file-processor-check.log
  [[ $output == *"ok "*sandbox* && $output == *"ok "*index* && $output != *FAILED* ]]
}

@test "the environment file belongs to root and the service's group alone" {
  [ "$(on_machine host stat -c '%a %U:%G' /etc/file-processor/env)" = "640 root:appuser" ]
  [ "$(on_machine host stat -c '%a %U:%G' /etc/file-processor)" = "750 root:appuser" ]
}

@test "the worker is active only after READY: while the index is down it is starting, and says why" {
  local port=$((20000 + RANDOM % 10000))
  on_machine host systemctl stop file-processor-worker.service
  with_environment "OPENSEARCH_ENDPOINT=\"http://127.0.0.1:$port\""
  on_machine host systemctl start --no-block file-processor-worker.service
  starting_without_index() { is host ActiveState activating && [[ $(property host StatusText) == *"OpenSearch down"* ]]; }
  wait_for 30 "the worker to say what it waits for" starting_without_index
  on_machine host systemd-run --quiet --unit=index systemd-socket-activate -l "127.0.0.1:$port" \
    /lib/systemd/systemd-socket-proxyd "${TESTBED_OPENSEARCH_ENDPOINT#http://}"
  wait_for 30 "the worker to be ready" is host ActiveState active
  [[ $(property host StatusText) == "ready; idle, "*" of 1 children busy;"* ]]
  give_environment host
  on_machine host systemctl restart file-processor-worker.service
}

@test "a document goes the whole way, and OCR runs in its sandbox inside the unit's" {
  run -0 smoke_test
  [[ $output == *passed* ]]
}

has_outcome() { on_machine host journalctl --no-pager --quiet --output=cat KEY="$1" | grep -q '^document '; }

@test "an outcome is in the journal with its fields, and in the log file that the agent ships" {
  local key=documents/road/ts-server3/boot/one.pdf
  send_scan "$key" 1
  wait_for 60 "the outcome" has_outcome "$key"
  local entry
  entry=$(on_machine host journalctl --output=json --no-pager KEY="$key" | tail -n 1)
  [ "$(jq -r .OUTCOME <<<"$entry")" = indexed ]
  [ "$(jq -r .PAGES_OCR <<<"$entry")" = 1 ]
  [ "$(jq -r .SYSLOG_IDENTIFIER <<<"$entry")" = file-processor-worker ]
  [ "$(jq -r ._SYSTEMD_UNIT <<<"$entry")" = file-processor-worker.service ]
  [ "$(jq -r .PRIORITY <<<"$entry")" -le 6 ]
  run -0 on_machine host grep -F "\"$key\"" /var/log/file-processor/worker.log
  jq -e . <<<"${lines[0]}"
  [ "$(on_machine host stat -c '%a %U:%G' /var/log/file-processor/worker.log)" = "640 appuser:appuser" ]
  on_machine host setpriv --reuid cwagent --regid cwagent --init-groups head -c 1 /var/log/file-processor/worker.log
  on_machine host setpriv --reuid cwagent --regid cwagent --init-groups head -c 1 /var/log/file-processor-check.log
}

@test "a child that is killed is replaced, the service stays" {
  local pid
  pid=$(property host MainPID)
  local child
  child=$(children_of_worker | head -n 1)
  on_machine host kill -KILL "$child"
  another_child() { [[ -n $(children_of_worker) && $(children_of_worker) != *"$child"* ]]; }
  run -0 smoke_test
  wait_for 30 "another child" another_child
  is host ActiveState active
  [ "$(property host MainPID) $(property host NRestarts)" = "$pid 0" ]
}

@test "a child that runs out of memory costs its page, the service stays" {
  "$REPO_DIR/tests/deployment/support/scan.py" 1 recognize:memory:always >"$BATS_TEST_TMPDIR/greedy.pdf"
  run "$WORKER_BINARY" extract "$BATS_TEST_TMPDIR/greedy.pdf"
  [[ $output == *out_of_memory* ]] || skip "only a debug build can be told to run out of memory"
  local pid key=documents/road/ts-server3/boot/greedy.pdf
  pid=$(property host MainPID)
  send_scan "$key" 1 recognize:memory:always
  wait_for 90 "the outcome" has_outcome "$key"
  [ "$(on_machine host journalctl --output=json --no-pager KEY="$key" | tail -n 1 | jq -r .REASON)" = out_of_memory ]
  run -0 smoke_test
  [ "$(property host MainPID) $(property host NRestarts)" = "$pid 0" ]
}

@test "the worker can write to its own folders and to nothing else" {
  local pid folder
  pid=$(property host MainPID)
  as_worker() {
    on_machine host nsenter -t "$pid" -m -- setpriv --reuid appuser --regid appuser --init-groups --no-new-privs "$@"
  }
  for folder in /var/cache/file-processor-worker /var/lib/file-processor-worker /var/log/file-processor \
    /run/file-processor-worker; do
    as_worker test -w "$folder"
  done
  # Wherever a mount is not read-only, and what this user may write to there. The folders for temporary files
  # are the service's own.
  run -0 as_worker sh -c 'awk "\$6 !~ /^ro/ { print \$5 }" /proc/self/mountinfo | while read -r mount; do
      if test -w "$mount"; then echo "$mount"; fi
    done | sort -u'
  [ "$output" = "$(printf '%s\n' /run/file-processor-worker /tmp /var/cache/file-processor-worker \
    /var/lib/file-processor-worker /var/log/file-processor /var/tmp)" ]
  for folder in / /etc /etc/file-processor /usr/bin /usr/local/share/tessdata /app /opt /var/log /var/lib /run /home /root; do
    run ! as_worker test -w "$folder"
  done
  [ -z "$(on_machine host ls -A /tmp | grep -v '^systemd-private-\|^\.')" ]
}

@test "a stop in the middle of OCR ends in time, and the message is back in the queue at once" {
  # With the usual minute a fast machine would read all of it.
  with_environment 'DRAIN_TIMEOUT="7"'
  on_machine host systemctl restart file-processor-worker.service
  send_scan documents/road/ts-server3/boot/long.pdf 1000
  wait_for 60 "the job" busy
  local began=$SECONDS
  on_machine host systemctl stop file-processor-worker.service
  note "stopped after $((SECONDS - began)) s"
  ((SECONDS - began < 30))
  is host Result success
  [ "$(messages ApproximateNumberOfMessages) $(messages ApproximateNumberOfMessagesNotVisible)" = "1 0" ]
  aws_py purge-queue "$(variable "$BATS_FILE_TMPDIR/host.env" SQS_QUEUE_URL)"
}

busy() { [[ $(property host StatusText) == "ready; 1 job,"* ]]; }

@test "a wrong configuration is exit 78, one line in the journal, and no restart" {
  on_machine host systemctl stop file-processor-worker.service
  with_environment 'MAX_WORKERS="many"'
  run ! on_machine host systemctl start file-processor-worker.service
  wait_for 20 "the failure" is host ActiveState failed
  [ "$(property host ExecMainStatus) $(property host NRestarts)" = "78 0" ]
  # By the start that failed: the second it happened in also has the last lines of the worker stopped before.
  run -0 journal_of host "_SYSTEMD_INVOCATION_ID=$(property host InvocationID)" _COMM=file-processor-
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *MAX_WORKERS*many* ]]
  run -78 on_machine host /usr/local/bin/start-worker.sh --no-check --timeout 20
  [[ $output == *MAX_WORKERS*many* && $output == *"exit code 78"* ]]
  # Nor is the instance replaced: the next one would be just as wrong.
  is host ActiveState inactive file-processor-worker-unhealthy.service
  is host Result exec-condition file-processor-worker-unhealthy.service
}

@test "start-worker.sh does not start what its checks refuse, and prints the failed ones" {
  on_machine host systemctl stop file-processor-worker.service
  give_environment host
  with_environment 'S3_BUCKET="no-such-bucket-here"'
  run -1 on_machine host /usr/local/bin/start-worker.sh --timeout 20
  [[ $output == *FAILED*no-such-bucket-here* ]]
  run ! is host ActiveState active
}

@test "after too many failed starts, and only then, the instance is reported as Unhealthy" {
  local stub_log=$BATS_FILE_TMPDIR/imds
  python3 "$REPO_DIR/scripts/testbed/imds_stub.py" 0 >"$stub_log" 2>/dev/null 3>&- &
  local stub=$!
  wait_for 60 "the metadata service" test -s "$stub_log"
  # What is asked of Auto Scaling is recorded; the first call is throttled.
  cat >"$(machine_root host)/usr/local/bin/aws" <<'AWS'
#!/bin/bash
logger -t aws-stub -- "$*"
[[ -e /run/aws-answers ]] || { echo 'An error occurred (Throttling)' >&2; exit 254; }
AWS
  chmod 0755 "$(machine_root host)/usr/local/bin/aws"
  give_environment host
  with_environment 'LOG_FILE="/etc/cannot-be-written"' "AWS_EC2_METADATA_SERVICE_ENDPOINT=\"$(<"$stub_log")\""
  on_machine host mkdir -p /run/systemd/system/file-processor-worker{,-unhealthy}.service.d
  on_machine host sh -c 'printf "[Service]\nRestartSec=100ms\n" |
    tee /run/systemd/system/file-processor-worker.service.d/test.conf >/run/systemd/system/file-processor-worker-unhealthy.service.d/test.conf'
  on_machine host systemctl daemon-reload
  on_machine host systemctl reset-failed
  on_machine host systemctl start --no-block file-processor-worker.service
  wait_for 30 "the start limit" is host ActiveState failed
  wait_for 30 "a refused report" says_unit file-processor-worker-unhealthy.service 'could not be reported as Unhealthy'
  on_machine host touch /run/aws-answers
  wait_for 30 "the report" says_unit file-processor-worker-unhealthy.service 'reported as Unhealthy: its worker does not start'
  run -0 on_machine host journalctl --no-pager --output=cat -t aws-stub
  [ "${lines[-1]}" = "autoscaling set-instance-health --region us-east-1 --instance-id i-0123456789abcdef0 --health-status Unhealthy --no-should-respect-grace-period" ]
  kill "$stub"
  on_machine host rm -r /run/systemd/system/file-processor-worker.service.d /run/systemd/system/file-processor-worker-unhealthy.service.d
  on_machine host systemctl daemon-reload
}

says_unit() { on_machine host journalctl --no-pager --output=cat -u "$1" | grep -qF -- "$2"; }

@test "an upgrade restarts the worker, an erasure stops it and leaves its log alone" {
  local pid version
  give_environment host
  on_machine host systemctl reset-failed
  on_machine host systemctl start file-processor-worker.service
  pid=$(property host MainPID)
  version=$(on_machine host rpm -q --dbpath /var/lib/rpm file-processor-worker)
  cp "$(the_next_rpm)" "$(machine_root host)/var/tmp/next.rpm"
  on_machine host rpm --dbpath /var/lib/rpm -U --nodeps /var/tmp/next.rpm
  restarted() { is host ActiveState active && [[ $(property host MainPID) != "$pid" ]]; }
  wait_for 60 "the new worker" restarted
  [ "$(on_machine host rpm -q --dbpath /var/lib/rpm file-processor-worker)" != "$version" ]
  on_machine host rpm --dbpath /var/lib/rpm -e file-processor-worker
  is host ActiveState inactive
  is host LoadState not-found
  run ! on_machine host pgrep -u appuser
  on_machine host test -s /var/log/file-processor/worker.log
  run ! on_machine host test -e /app
  run on_machine host find /usr /etc /opt /var/lib /var/cache -xdev -path '*file-processor*' \
    -not -path '/var/lib/rpm/*' -not -path '/var/cache/man/*'
  [ -z "$output" ]
}

@test "a worker that has its environment at boot starts by itself" {
  # It was stopped and restarted since; this is its first start.
  run -0 on_machine stuck journalctl --no-pager --output=json -u file-processor-worker.service
  local started ready
  started=$(grep -m 1 -F '"Starting ' <<<"$output" | jq -r .__MONOTONIC_TIMESTAMP)
  ready=$(grep -m 1 -F '"Started ' <<<"$output" | jq -r .__MONOTONIC_TIMESTAMP)
  [ -n "$started" ] && [ -n "$ready" ]
  note "cold boot: READY after $(((ready - started) / 1000)) ms of the unit's start"
}

@test "a poll loop that is stuck is found by the watchdog, and the worker is restarted" {
  # Not by its number: a question that the busy machine does not answer is no other number.
  restarted() { is stuck ActiveState active && [[ $(property stuck NRestarts) -ge 1 ]]; }
  wait_for 90 "the watchdog to restart the worker" restarted || {
    journal_of stuck >&2
    return 1
  }
  [ "$(property stuck MainPID)" != "$(<"$BATS_FILE_TMPDIR/stuck.stopped")" ]
  journal_says stuck "watchdog withheld"
  # The reason is a field of that line.
  on_machine stuck journalctl --no-pager --output=json --unit=file-processor-worker.service |
    grep -q '"WHY":"the poll loop has not turned'
  run -0 journal_of stuck
  [[ $output == *"Watchdog timeout"* ]]
}
