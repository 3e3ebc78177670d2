# scripts/debug-worker.sh on a throw-away root: what it finds in each state of an instance, what it advises, and that no
# secret leaves it. systemctl, journalctl and curl are stand-ins; the worker is one, too, but for one test.
# shellcheck disable=SC2154  # bats sets output, status and stderr
bats_require_minimum_version 1.5.0

# shellcheck disable=SC2016  # the dollar is part of it
password='pass word/with$signs'

setup() {
  repo=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  script=$repo/scripts/debug-worker.sh
  root=$BATS_TEST_TMPDIR/root
  stubs=$BATS_TEST_TMPDIR/stubs
  units=$BATS_TEST_TMPDIR/units
  mkdir -p "$root/etc/file-processor" "$root/var/log" "$stubs" "$units"
  write_environment
  unit file-processor-worker.service LoadState=loaded ActiveState=active SubState=running Result=success NRestarts=0 StatusText=idle
  unit amazon-cloudwatch-agent.service LoadState=loaded ActiveState=active
  stub systemctl <<'S'
# systemctl show --property=NAME --value [UNIT] | status UNIT … | show UNIT | cat UNIT
unit=''
for word; do [[ $word != *.service ]] || unit=$word; done
case $1 in
  show)
    [[ -e $UNITS ]] || { echo "System has not been booted with systemd" >&2; exit 1; }
    name=''
    for word; do [[ $word != --property=* ]] || name=${word#--property=}; done
    if [[ -z $unit ]]; then echo 252; elif [[ -z $name ]]; then cat "$UNITS/$unit"; else sed -n "s/^$name=//p" "$UNITS/$unit" 2>/dev/null; fi
    ;;
  status) echo "$unit - the state of the unit" ;;
  cat) echo "[Service]" ;;
  *) echo "unexpected: systemctl $*" >&2; exit 97 ;;
esac
S
  stub journalctl <<'S'
case $* in
  *"-p err"*) cat "$JOURNAL.errors" 2>/dev/null || true ;;
  *) cat "$JOURNAL" 2>/dev/null || echo "a line of the journal" ;;
esac
S
  stub curl <<'S'
case $* in
  */latest/api/token) [[ -e $METADATA ]] && echo token ;;
  */latest/meta-data/*) cat "$METADATA/$(basename "${!#}")" 2>/dev/null ;;
  *) exit 7 ;;
esac
S
  stub rpm <<<'echo file-processor-worker-0.1.0-1.x86_64'
  worker=$stubs/file-processor-worker
  stub file-processor-worker <<'S'
case $1 in
  --version) echo "file-processor-worker 0.1.0" ;;
  config) exit "${CONFIG_EXIT:-0}" ;;
  doctor)
    printf '%s\n' "$*" >>"$DOCTOR_CALLS"
    echo "2026-11-22 ERROR a line of the log" >&2
    if [[ $* == *--json* ]]; then echo '{"ok": true, "checks": []}'; exit; fi
    cat "$DOCTOR_REPORT" 2>/dev/null || printf 'OK       queue  here\n\n1 OK\n\nRecommended actions:\n  none\n'
    exit "${DOCTOR_EXIT:-0}"
    ;;
esac
S
  export PATH=$stubs:$PATH UNITS=$units JOURNAL=$BATS_TEST_TMPDIR/journal METADATA=$BATS_TEST_TMPDIR/metadata
  export DOCTOR_CALLS=$BATS_TEST_TMPDIR/calls DOCTOR_REPORT=$BATS_TEST_TMPDIR/doctor
  real_worker=${WORKER_BINARY:-}
  export DEBUG_WORKER_ROOT=$root WORKER_BINARY=$worker
  # The service's environment is not that of the shell: what the stand-ins need is put into them.
  local file
  for file in "$stubs"/*; do
    sed -i "2i export UNITS='$UNITS' JOURNAL='$JOURNAL' METADATA='$METADATA' DOCTOR_CALLS='$DOCTOR_CALLS' DOCTOR_REPORT='$DOCTOR_REPORT'" "$file"
  done
}

# stub NAME: a program from standard input.
stub() {
  { echo '#!/usr/bin/env bash' && cat; } >"$stubs/$1"
  chmod +x "$stubs/$1"
}

# unit NAME PROPERTY=VALUE...
unit() { printf '%s\n' "${@:2}" >"$units/$1"; }

write_environment() {
  cat >"$root/etc/file-processor/env" <<S
# The worker's environment
SQS_QUEUE_URL="https://sqs.ap-northeast-1.amazonaws.com/123456789012/files"
OPENSEARCH_USERNAME="admin"
OPENSEARCH_PASSWORD="$password"
AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI
S
  chmod 0640 "$root/etc/file-processor/env"
}

# doctor_says EXIT_CODE: what the stand-in of the worker answers, from standard input.
doctor_says() {
  cat >"$DOCTOR_REPORT"
  sed -i "3i DOCTOR_EXIT=$1" "$worker"
}

diagnose() { run -"$1" --separate-stderr bash "$script" "${@:2}" || {
  echo "$output$stderr"
  return 1
}; }

# advises TEXT: among the recommended actions.
advises() {
  sed -n '/^Recommended actions:/,$p' <<<"$output" | grep -qF -- "$1" || {
    printf 'not advised: %s\n%s\n' "$1" "$output"
    return 1
  }
}

says() {
  grep -qF -- "$1" <<<"$output" || {
    printf 'not said: %s\n%s\n' "$1" "$output"
    return 1
  }
}

@test "an instance that is well: eight sections, each with a verdict, and nothing to do but what is true here" {
  diagnose 0
  for section in '[1] System Information' '[2] Instance Metadata' '[3] Environment Variables' '[4] Worker Service Status' \
    '[5] Recent Logs' '[6] Disk Usage' '[7] Memory Usage' '[8] Network Connectivity and Permissions'; do
    says "$section"
    awk -v wanted="$section" '
      index($0, wanted) { inside = 1; next }
      inside && /^\[[0-9]\]/ { exit }
      inside && /^(OK|WARN|FAIL|SKIPPED) / { found = 1; exit }
      END { exit !found }' <<<"$output" || {
      echo "no verdict in $section"
      return 1
    }
  done
  says 'OK       the service is active: idle'
  says 'OK       the doctor found nothing'
  says 'Diagnostics Complete'
}

@test "the doctor is given the environment file" {
  diagnose 0
  [[ $(<"$DOCTOR_CALLS") == "doctor --env-file $root/etc/file-processor/env" ]]
}

@test "secrets show nowhere: not in the environment, the journal, or the doctor's words" {
  printf 'connecting with %s\nAWS_SECRET_ACCESS_KEY=somethingelse\nhttps://user:hunter2@host/x\nkey AKIAIOSFODNN7EXAMPLE\n' "$password" >"$JOURNAL"
  doctor_says 1 <<<"FAIL     index  the password $password is wrong"
  diagnose 1
  for secret in "$password" wJalrXUtnFEMI somethingelse hunter2 AKIAIOSFODNN7EXAMPLE; do
    [[ $output$stderr != *"$secret"* ]] || {
      echo "$secret shows"
      return 1
    }
  done
  says 'OPENSEARCH_PASSWORD=****'
  says 'connecting with ****'
  says 'OPENSEARCH_USERNAME="admin"'
}

@test "the doctor's actions stand among those of the script, failures first" {
  doctor_says 1 <<'S'
FAIL     sqs:DeleteMessage  AccessDenied
WARN     clock              70 s ahead

0 OK, 1 WARN, 1 FAIL, 0 SKIPPED

Recommended actions:
  1. FAIL sqs:DeleteMessage: allow sqs:DeleteMessage on the queue
  2. WARN clock: set the clock
S
  unit amazon-cloudwatch-agent.service LoadState=loaded ActiveState=failed
  diagnose 1
  advises 'FAIL sqs:DeleteMessage: allow sqs:DeleteMessage on the queue'
  advises 'systemctl restart amazon-cloudwatch-agent.service'
  [[ $(grep -c 'Recommended actions:' <<<"$output") == 1 ]]
  first_warning=$(sed -n '/^Recommended/,$p' <<<"$output" | grep -n ' WARN ' | head -n 1 | cut -d: -f1)
  last_failure=$(sed -n '/^Recommended/,$p' <<<"$output" | grep -n ' FAIL ' | tail -n 1 | cut -d: -f1)
  ((last_failure < first_warning))
}

@test "a stopped worker: everything is looked at all the same, and the advice is to start it" {
  unit file-processor-worker.service LoadState=loaded ActiveState=inactive SubState=dead Result=success NRestarts=0
  diagnose 1
  says 'FAIL     the service is stopped'
  advises 'start-worker.sh'
  says 'OK       the doctor found nothing'
}

@test "a missing environment file is what keeps the service waiting" {
  rm "$root/etc/file-processor/env"
  unit file-processor-worker.service LoadState=loaded ActiveState=inactive SubState=dead Result=success ConditionResult=no
  diagnose 1
  says "FAIL     $root/etc/file-processor/env is missing"
  advises '/var/log/user-data.log'
}

@test "exit code 78 is told as a wrong configuration, and the start limit as such" {
  unit file-processor-worker.service LoadState=loaded ActiveState=failed Result=exit-code ExecMainStatus=78
  sed -i '3i CONFIG_EXIT=78' "$worker"
  diagnose 1
  says 'the configuration is wrong (exit code 78)'
  advises 'start-worker.sh --restart'
  unit file-processor-worker.service LoadState=loaded ActiveState=failed Result=start-limit-hit ExecMainStatus=1 NRestarts=5 StartLimitBurst=5
  diagnose 1
  advises 'failed too often and is not started any more: mend'
  # As systemd 252 says it.
  unit file-processor-worker.service LoadState=loaded ActiveState=failed Result=exit-code ExecMainStatus=1 NRestarts=5 StartLimitBurst=5
  diagnose 1
  advises 'failed too often and is not started any more: mend'
  unit file-processor-worker.service LoadState=loaded ActiveState=failed Result=exit-code ExecMainStatus=1 NRestarts=2 StartLimitBurst=5
  diagnose 1
  says 'FAIL     the service failed (exit-code, exit code 1)'
}

@test "a worker that fails and is started again and again is a failure, one that only starts is not" {
  unit file-processor-worker.service LoadState=loaded ActiveState=activating SubState=auto-restart Result=exit-code ExecMainStatus=1 NRestarts=2
  diagnose 1
  says 'FAIL     the service failed (exit-code, exit code 1) and is being started again'
  unit file-processor-worker.service LoadState=loaded ActiveState=activating SubState=start Result=success NRestarts=0 'StatusText=starting: not yet proven: OpenSearch'
  diagnose 0
  says 'WARN     the service is starting: starting: not yet proven: OpenSearch'
}

@test "an environment file that others may read, errors in the journal, killed children: warnings, not failures" {
  chmod 0644 "$root/etc/file-processor/env"
  printf 'one\ntwo\n' >"$JOURNAL.errors"
  group=$root/sys/fs/cgroup/system.slice/file-processor-worker.service
  mkdir -p "$group"
  printf 'oom 3\noom_kill 2\n' >"$group/memory.events"
  diagnose 0
  advises "chmod 0640 $root/etc/file-processor/env"
  says '2 lines of errors in the journal'
  advises 'lower MAX_WORKERS'
}

@test "an instance without a role fails, one that is to go is told so" {
  mkdir -p "$METADATA"
  echo i-0123 >"$METADATA/instance-id"
  echo Terminated >"$METADATA/target-lifecycle-state"
  diagnose 1
  says 'FAIL     the instance has no role'
  says 'WARN     the group wants it Terminated'
  says i-0123
}

@test "the failed lines of the last check before a start are pointed at" {
  printf 'ok      queue   here\nFAILED  bucket  gone\n' >"$root/var/log/file-processor-check.log"
  diagnose 0
  says 'FAILED  bucket  gone'
  advises 'FAILED lines'
}

@test "without systemd, program and AWS CLI it says what is missing and ends" {
  rm -r "$units"
  rm "$worker"
  stub aws <<<'exit 97'
  diagnose 1
  says 'SKIPPED  no systemd runs here'
  says "FAIL     there is no program at $worker"
  says 'Diagnostics Complete'
}

@test "a command that hangs is given up" {
  stub journalctl <<<'sleep 600'
  diagnose 0 --timeout 1
  says 'Diagnostics Complete'
}

@test "the bundle holds what a ticket needs and no secret" {
  printf 'connecting with %s\n' "$password" >"$JOURNAL"
  diagnose 0 --bundle "$BATS_TEST_TMPDIR"
  bundle=("$BATS_TEST_TMPDIR"/file-processor-debug-*.tar.gz)
  [[ -f ${bundle[0]} && $(stat -c %a "${bundle[0]}") == 600 ]]
  says "bundle for a ticket: ${bundle[0]}"
  tar -C "$BATS_TEST_TMPDIR" -xzf "${bundle[0]}"
  files=$BATS_TEST_TMPDIR/$(basename "${bundle[0]}" .tar.gz)
  for file in report.txt doctor.json environment.txt journal.txt unit-state.txt unit.txt; do
    [[ -s $files/$file ]] || {
      echo "no $file"
      return 1
    }
  done
  python3 -m json.tool "$files/doctor.json" >/dev/null
  grep -q 'SQS_QUEUE_URL=' "$files/environment.txt"
  grep -q 'connecting with \*\*\*\*' "$files/journal.txt"
  run ! grep -rqF -e "$password" -e wJalrXUtnFEMI "$files"
}

@test "the program itself reads the file and has its say" {
  [[ -n $real_worker ]] || skip "WORKER_BINARY names no worker"
  export WORKER_BINARY=$real_worker
  printf 'OPENSEARCH_ENDPOINT=http://127.0.0.1:1\nS3_BUCKET=some-bucket\nPAGES=1\nMAX_WORKERS=none\n' >>"$root/etc/file-processor/env"
  diagnose 1
  says 'MAX_WORKERS'
  says 'FAIL     the worker does not accept the configuration'
  says 'FAIL     configuration'
  [[ $output$stderr != *"$password"* ]]
}

@test "wrong usage ends with 2 and says what is wrong" {
  diagnose 2 --nonsense
  [[ $stderr == *--nonsense* ]]
  diagnose 2 --lines many
  diagnose 2 --bundle /no/such/folder
  [[ $stderr == */no/such/folder* ]]
  diagnose 0 --help
  [[ $output == *--bundle* ]]
}
