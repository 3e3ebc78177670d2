#!/usr/bin/env bash
# Starts the worker on its instance and waits until it is ready: user data does this, and a person after a change of
# /etc/file-processor/env. Installed as /usr/local/bin/start-worker.sh. Everything the worker needs is proven first,
# in the service's own environment; what fails is printed. A worker that runs already is left alone.
#   start-worker.sh [--timeout SECONDS] [--no-check] [--restart]
#     --timeout SECONDS   how long to wait for READY (default 300)
#     --no-check          start at once: the worker itself waits for servers that are down
#     --restart           restart a worker that runs, so that it reads a changed environment
#
# Exit codes: 0 ready · 1 a check failed, the worker failed, or it is not ready in time · 2 wrong usage ·
# 78 /etc/file-processor/env is missing, or the worker refuses what is in it
set -euo pipefail

service=file-processor-worker.service
check=file-processor-worker-check.service
env_file=/etc/file-processor/env
check_log=/var/log/file-processor-check.log

say() { printf '%s\n' "$*"; }
complain() { printf 'start-worker.sh: %s\n' "$*" >&2; }
show_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

property() { systemctl show --property="$1" --value "$service"; }

timeout=300 wants_check=1 wants_restart=''
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --timeout)
      if [[ ! ${2:-} =~ ^[1-9][0-9]*$ ]]; then
        complain "--timeout wants a number of seconds, not '${2:-}'"
        exit 2
      fi
      timeout=$2
      shift
      ;;
    --no-check) wants_check='' ;;
    --restart) wants_restart=1 ;;
    *)
      complain "unknown argument $1, see --help"
      exit 2
      ;;
  esac
  shift
done

if ((EUID != 0)); then
  complain "only root may start services: run it with sudo"
  exit 1
fi
if [[ ! -f $env_file ]]; then
  complain "$env_file is missing: user data writes it (its log is /var/log/user-data.log), or write it by hand, root:appuser 0640"
  exit 78
fi
# Written by hand it may be anything; it may hold a password.
chown root:appuser "$env_file"
chmod 0640 "$env_file"

if [[ $(property ActiveState) == active && -z $wants_restart ]]; then
  say "the worker runs already: $(property StatusText)"
  exit 0
fi

# prove: the checks' lines when one of them fails.
prove() {
  systemctl start "$check" && return
  cat "$check_log" >&2 || true
  complain "the worker would not work with this configuration, see the FAILED lines above; it has not been started"
  complain "after mending: start-worker.sh again; 'journalctl -u $check' has the rest"
  exit 1
}

# explain_failure: why the service is not there, by its own last lines.
explain_failure() {
  journalctl --no-pager --output=cat --lines=20 _SYSTEMD_INVOCATION_ID="$(property InvocationID)" >&2 || true
  complain "$1; its last lines are above, all of them: journalctl -u $service"
}

# begun: whether systemd has taken up the start that was asked for.
begun() { [[ -z $(property Job) && $(property InvocationID) != "$run_before" ]]; }

wait_until_ready() {
  local deadline=$((SECONDS + timeout)) told='' status state
  while ((SECONDS < deadline)); do
    state=$(property ActiveState)
    status=$(property StatusText)
    if [[ $state == active ]] && begun; then
      say "ready: $status"
      return
    elif [[ $state == failed ]] && begun; then
      explain_failure "the worker failed ($(property Result), exit code $(property ExecMainStatus))"
      [[ $(property ExecMainStatus) != 78 ]] || exit 78
      exit 1
    elif [[ $state == inactive && -z $(property Job) && $(property ConditionResult) == no ]]; then
      complain "the worker was not started: a Condition…= of its unit does not hold, see 'systemctl status $service'"
      exit 1
    fi
    [[ $status == "$told" ]] || say "waiting: $status"
    told=$status
    sleep 0.2
  done
  explain_failure "the worker is not ready after $timeout seconds: $(property StatusText)"
  exit 1
}

[[ -z $wants_check ]] || prove
systemctl reset-failed "$service" 2>/dev/null || true
run_before=$(property InvocationID)
if [[ -n $wants_restart ]]; then
  systemctl restart --no-block "$service"
else
  systemctl start --no-block "$service"
fi
wait_until_ready
