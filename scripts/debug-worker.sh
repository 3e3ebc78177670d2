#!/usr/bin/env bash
# Looks for what is wrong with the worker on this instance, and says what to do. Changes nothing. Installed as
# /app/scripts/debug-worker.sh; run it as root, also when the worker is stopped. Needs neither the AWS CLI nor jq.
#   debug-worker.sh [--bundle [DIR]] [--env-file FILE] [--lines N] [--timeout SECONDS]
#     --bundle [DIR]      also write a tar for a ticket into DIR (default: the current folder): this report, the doctor's
#                         report as JSON, the journal, unit and masked environment; never a secret
#     --env-file FILE     the service's environment (default /etc/file-processor/env)
#     --lines N           lines of the journal that are shown (default 50; the bundle has the last 5000)
#     --timeout SECONDS   how long one command may take (default 30), so that nothing hangs
#
# Eight sections: system, instance metadata, environment, service, logs, disk, memory, network and permissions. The last
# one is `file-processor-worker doctor`, run as the service's user. Each check ends in a line with OK, WARN, FAIL or
# SKIPPED; what to do stands together at the end.
#
# Exit codes: 0 nothing failed · 1 a check failed · 2 wrong usage
# WORKER_BINARY                      the program (default /usr/bin/file-processor-worker)
# DEBUG_WORKER_ROOT                  folder that stands for / where files are read (tests)
# AWS_EC2_METADATA_SERVICE_ENDPOINT  the metadata service (default http://169.254.169.254)
set -euo pipefail

service="file-processor-worker.service"
agent="amazon-cloudwatch-agent.service"
service_user=appuser
root=${DEBUG_WORKER_ROOT:-}
program=${WORKER_BINARY:-/usr/bin/file-processor-worker}
metadata_endpoint=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
env_file=$root/etc/file-processor/env
bundle_journal_lines=5000

complain() { printf 'debug-worker.sh: %s\n' "$*" >&2; }
show_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

bundle_dir='' lines=50 patience=30
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --bundle)
      bundle_dir=.
      if [[ -n ${2:-} && $2 != -* ]]; then
        bundle_dir=$2
        shift
      fi
      ;;
    --env-file | --lines | --timeout)
      if [[ -z ${2:-} ]]; then
        complain "$1 wants a value, see --help"
        exit 2
      fi
      case $1 in
        --env-file) env_file=$2 ;;
        --lines) lines=$2 ;;
        --timeout) patience=$2 ;;
      esac
      shift
      ;;
    *)
      complain "unknown argument $1, see --help"
      exit 2
      ;;
  esac
  shift
done
if [[ ! $lines =~ ^[1-9][0-9]*$ || ! $patience =~ ^[1-9][0-9]*$ ]]; then
  complain "--lines and --timeout want whole numbers, not '$lines' and '$patience'"
  exit 2
fi
if [[ -n $bundle_dir && ! -d $bundle_dir ]]; then
  complain "there is no folder $bundle_dir for the bundle"
  exit 2
fi

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- secrets -------------------------------------------------------------------------------------------------------

# Names whose values nobody needs to see in a report.
secret_name='(PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|ACCESS_KEY)'

# The values themselves, one a line: they are masked wherever they turn up. Short ones are ordinary words.
secret_values() {
  [[ -r $env_file ]] || return 0
  awk -v names="$secret_name" '
    /^[ \t]*[#;]/ { next }
    {
      equals = index($0, "=")
      if (!equals || toupper(substr($0, 1, equals - 1)) !~ names) next
      value = substr($0, equals + 1)
      sub(/^[ \t]+/, "", value)
      sub(/[ \t\r]+$/, "", value)
      quote = substr(value, 1, 1)
      if ((quote == "\"" || quote == "\047") && substr(value, length(value)) == quote) {
        value = substr(value, 2, length(value) - 2)
      }
      if (length(value) >= 4) print value
      # What the file escapes, the program that used it shows plain.
      plain = value
      gsub(/\\/, "", plain)
      if (plain != value && length(plain) >= 4) print plain
    }' "$env_file"
}

# A file of its own, not a variable: an environment and a command line can be read by others.
secret_values >"$work/secrets"

# Copies its input without secrets: values of the environment file, and what looks like one.
mask() {
  awk -v secrets_file="$work/secrets" -v names="$secret_name" '
    BEGIN { while ((getline line < secrets_file) > 0) secrets[++count] = line }
    function replaced(text, secret,   at, done) {
      while ((at = index(text, secret)) > 0) {
        done = done substr(text, 1, at - 1) "****"
        text = substr(text, at + length(secret))
      }
      return done text
    }
    {
      for (number = 1; number <= count; number++) $0 = replaced($0, secrets[number])
      upper = toupper($0)
      # An assignment, or a key of JSON.
      if (match(upper, names "[A-Z0-9_]*([\"\047]?[ \t]*=|[\"\047][ \t]*:)")) {
        $0 = substr($0, 1, RSTART + RLENGTH - 1) "****"
      }
      gsub(/:\/\/[^\/@ ]+@/, "://****@")
      gsub(/(AKIA|ASIA)[A-Z0-9]+/, "****")
      gsub(/[Aa]uthorization: .*/, "Authorization: ****")
      gsub(/X-Amz-(Signature|Security-Token|Credential)=[^\& ]+/, "X-Amz-****")
      print
      fflush()
    }'
}

# ---- what a section is made of -------------------------------------------------------------------------------------

# within COMMAND...: its output, also what it complains about; never longer than the patience. Fails as it does.
within() { timeout --kill-after=5 "$patience" "$@" 2>&1 </dev/null; }

has() { command -v "$1" >/dev/null; }

section() { printf '\n[%s] %s\n' "$1" "$2"; }

# show: indents what a command said.
show() { sed 's/^/    /'; }

: >"$work/actions"

# verdict OK|WARN|FAIL|SKIPPED SENTENCE [ACTION]
verdict() {
  printf '%-7s  %s\n' "$1" "$2"
  [[ $1 != FAIL ]] || : >"$work/failed"
  if [[ -n ${3:-} ]]; then printf '%s|%s: %s\n' "$1" "$2" "$3" >>"$work/actions"; fi
}

# property UNIT NAME: empty where there is no systemd.
property() { within systemctl show --property="$2" --value "$1" || true; }

has_systemd() { has systemctl && within systemctl show --property=Version --value >/dev/null; }

# ---- [1] ------------------------------------------------------------------------------------------------------------

show_system() {
  section 1 "System Information"
  uname -a | show
  sed -n 's/^PRETTY_NAME=//p' "$root/etc/os-release" | tr -d '"' | show
  printf 'local time %s\n' "$(date '+%Y-%m-%d %H:%M:%S %Z')" | show
  if has rpm; then { within rpm -q file-processor-worker || true; } | show; fi
  if [[ -x $program ]]; then
    { within "$program" --version || true; } | show
    verdict OK "$program is installed"
  else
    verdict FAIL "there is no program at $program" "install the package: dnf install file-processor-worker, or start from the image that has it"
  fi
  ((EUID == 0)) || verdict WARN "not run as root: parts of this report are missing" "run it again with sudo"
}

# ---- [2] ------------------------------------------------------------------------------------------------------------

# metadata PATH: the value; fails when there is none. The token goes through a file descriptor, not the command line.
metadata() {
  within curl -sf --noproxy '*' --connect-timeout 2 --max-time 4 \
    -H @<(printf 'X-aws-ec2-metadata-token: %s\n' "$metadata_token") "${metadata_endpoint%/}/latest/meta-data/$1"
}

show_instance() {
  section 2 "Instance Metadata"
  if ! has curl || ! metadata_token=$(within curl -sf --noproxy '*' --connect-timeout 2 --max-time 4 -X PUT \
    -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "${metadata_endpoint%/}/latest/api/token"); then
    verdict SKIPPED "no metadata service answers: not an EC2 instance, or IMDS is closed"
    return
  fi
  local name value
  for name in instance-id instance-type placement/availability-zone ami-id; do
    value=$(metadata "$name") || value=unknown
    printf '%-28s %s\n' "$name" "$value" | show
  done
  if value=$(metadata iam/security-credentials/); then
    verdict OK "the instance has the role $value"
  else
    verdict FAIL "the instance has no role" "give the launch template its instance profile, then replace the instance"
  fi
  if value=$(metadata autoscaling/target-lifecycle-state); then
    case $value in
      InService) verdict OK "the group wants it InService" ;;
      *) verdict WARN "the group wants it $value" "nothing: an instance that is to go drains its work and takes no more" ;;
    esac
  else
    verdict SKIPPED "the instance is in no Auto Scaling group"
  fi
  if value=$(metadata spot/instance-action); then
    verdict WARN "a spot interruption is announced: $value" "nothing: what is in work goes back to the queue"
  fi
}

# ---- [3] ------------------------------------------------------------------------------------------------------------

show_environment() {
  section 3 "Environment Variables"
  if [[ ! -e $env_file ]]; then
    verdict FAIL "$env_file is missing: the service waits for it" \
      "user data writes it: read /var/log/user-data.log and /var/log/cloud-init-output.log; or write it by hand (root:$service_user, 0640), then start-worker.sh"
    return
  fi
  if [[ ! -r $env_file ]]; then
    verdict WARN "$env_file cannot be read by $(id -un)" "run it again with sudo"
    return
  fi
  mask <"$env_file" | grep -Ev '^[[:space:]]*([#;]|$)' | sort | show || true
  local owner mode
  owner=$(stat -c %U:%G "$env_file") mode=$(stat -c %a "$env_file")
  if [[ $owner == "root:$service_user" && $mode == 640 ]]; then
    verdict OK "$env_file belongs to $owner and has mode $mode"
  else
    verdict WARN "$env_file belongs to $owner and has mode $mode" "chown root:$service_user $env_file; chmod 0640 $env_file"
  fi
  if [[ -x $program ]]; then
    local said
    if said=$(within env -i PATH="$PATH" HOME=/ "$program" config --env-file "$env_file"); then
      verdict OK "the worker accepts every variable (file-processor-worker config shows what holds)"
    else
      printf '%s\n' "$said" | tail -n 20 | show
      verdict FAIL "the worker does not accept the configuration" "mend the variables named above in $env_file, then: start-worker.sh --restart"
    fi
  fi
}

# ---- [4] ------------------------------------------------------------------------------------------------------------

judge_service() {
  local state result restarts burst exit_code
  state=$(property "$service" ActiveState) result=$(property "$service" Result)
  restarts=$(property "$service" NRestarts) burst=$(property "$service" StartLimitBurst)
  exit_code=$(property "$service" ExecMainStatus)
  case $state/$result in
    active/*)
      verdict OK "the service is active: $(property "$service" StatusText)"
      if [[ ${restarts:-0} != 0 ]]; then
        verdict WARN "it was restarted $restarts times" "find out why: journalctl -u $service -p warning"
      fi
      ;;
    activating/success)
      verdict WARN "the service is starting: $(property "$service" StatusText)" "see [8] for what it waits for; it goes on by itself"
      ;;
    activating/*)
      verdict FAIL "the service failed ($result, exit code $exit_code) and is being started again" "read its last lines in [5]; [8] says what is missing"
      ;;
    deactivating/*) verdict WARN "the service drains" "nothing: it ends by itself" ;;
    failed/*)
      if [[ $exit_code == 78 ]]; then
        verdict FAIL "the service ended: the configuration is wrong (exit code 78)" "mend $env_file, see [3] and [5], then: start-worker.sh"
      # systemd 252 keeps the last failure's result when it gives up.
      elif [[ $result == start-limit-hit ]] || ((${restarts:-0} >= ${burst:-5})); then
        verdict FAIL "the service failed too often and is not started any more" "mend what [5] and [8] say, then: start-worker.sh"
      else
        verdict FAIL "the service failed ($result, exit code $exit_code)" "read [5], then: start-worker.sh"
      fi
      ;;
    *)
      if [[ $(property "$service" LoadState) != loaded ]]; then
        verdict FAIL "$service is not installed" "install the package: dnf install file-processor-worker"
      elif [[ ! -e $env_file ]]; then
        verdict FAIL "the service waits for $env_file" "see [3]"
      else
        verdict FAIL "the service is stopped" "start-worker.sh"
      fi
      ;;
  esac
}

show_service() {
  section 4 "Worker Service Status"
  if ! has_systemd; then
    verdict SKIPPED "no systemd runs here"
    return
  fi
  { within systemctl status "$service" --no-pager --full --lines=0 || true; } | show
  judge_service
  local state
  state=$(property "$agent" ActiveState)
  if [[ $(property "$agent" LoadState) != loaded ]]; then
    verdict WARN "the CloudWatch agent is not installed: logs and metrics stay here" "dnf install amazon-cloudwatch-agent"
  elif [[ $state == active ]]; then
    verdict OK "the CloudWatch agent is active"
  else
    verdict WARN "the CloudWatch agent is $state: logs and metrics stay here" "systemctl restart $agent; its log is in [5]"
  fi
}

# ---- [5] ------------------------------------------------------------------------------------------------------------

# tail_of FILE LINES
tail_of() {
  [[ -r $root$1 ]] || return 0
  printf '%s:\n' "$1" | show
  tail -n "$2" "$root$1" | show
}

show_logs() {
  section 5 "Recent Logs"
  if has journalctl; then
    { within journalctl -u "$service" -n "$lines" --no-pager || true; } | show
    local errors
    errors=$(within journalctl -u "$service" --since=-1h -p err -o cat --no-pager -q | wc -l) || errors=0
    if ((errors == 0)); then
      verdict OK "no errors in the journal of the last hour"
    else
      verdict WARN "$errors lines of errors in the journal of the last hour" "read them: journalctl -u $service --since=-1h -p err"
    fi
  else
    verdict SKIPPED "no journal here"
  fi
  tail_of /var/log/file-processor-check.log 30
  tail_of /var/log/user-data.log 30
  tail_of /opt/aws/amazon-cloudwatch-agent/logs/amazon-cloudwatch-agent.log 10
  if [[ -r $root/var/log/file-processor-check.log ]] && grep -q '^FAILED' "$root/var/log/file-processor-check.log"; then
    verdict WARN "the last check before a start, or of this morning, failed" "see its FAILED lines above; [8] says whether they still hold"
  fi
}

# ---- [6] ------------------------------------------------------------------------------------------------------------

show_disk() {
  section 6 "Disk Usage"
  within df -hT -x devtmpfs | show || true
  local mount used kind worst=OK
  while read -r kind used mount; do
    used=${used%\%}
    [[ $used =~ ^[0-9]+$ ]] || continue
    if ((used >= 95)); then
      worst=FAIL
      verdict FAIL "$mount is $used % full ($kind)" "make room: du -xh $mount | sort -h | tail; the worker pauses until then and goes on by itself"
    elif ((used >= 85)); then
      [[ $worst == FAIL ]] || worst=WARN
      verdict WARN "$mount is $used % full ($kind)" "look what grows: du -xh $mount | sort -h | tail"
    fi
  done < <({
    within df --output=source,pcent,target -x devtmpfs -x squashfs -x overlay
    within df --output=source,ipcent,target -x devtmpfs -x squashfs -x overlay | sed 's/^/inodes:/'
    # A container's root is an overlay.
    within df --output=source,pcent,target /
  } | grep -v Mounted | sort -u)
  [[ $worst != OK ]] || verdict OK "every disk has room"
}

# ---- [7] ------------------------------------------------------------------------------------------------------------

show_memory() {
  section 7 "Memory Usage"
  { within free -h || head -n 5 /proc/meminfo; } | show
  local group=$root/sys/fs/cgroup/system.slice/$service kills
  if [[ -r $group/memory.current ]]; then
    local file
    for file in memory.current memory.high memory.max; do
      printf '%-28s %s\n' "$file" "$(cat "$group/$file" 2>/dev/null || echo unknown)" | show
    done
  fi
  kills=$(awk '$1 == "oom_kill" { print $2 }' "$group/memory.events" 2>/dev/null) || kills=''
  if [[ ${kills:-0} != 0 ]]; then
    verdict WARN "$kills processes of the service were killed for memory since it started; their pages were read again" \
      "lower MAX_WORKERS in $env_file, or take a larger instance; then: start-worker.sh --restart"
  fi
  local total available
  total=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)
  available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  if ((available * 100 < total * 5)); then
    verdict FAIL "$((available / 1024)) of $((total / 1024)) MB are available" "see what uses it: ps -eo rss,comm --sort=-rss | head; lower MAX_WORKERS"
  elif ((available * 100 < total * 15)); then
    verdict WARN "$((available / 1024)) of $((total / 1024)) MB are available" "see what uses it: ps -eo rss,comm --sort=-rss | head"
  else
    verdict OK "$((available / 1024)) of $((total / 1024)) MB are available"
  fi
}

# ---- [8] ------------------------------------------------------------------------------------------------------------

# as_service COMMAND...: as the service's user with its folders, because what root may do proves nothing and what root
# makes the service could not write. Without that user, as oneself.
as_service() {
  local folders=(CACHE_DIRECTORY=/var/cache/file-processor-worker LOG_FILE=/var/log/file-processor/worker.log)
  if ((EUID == 0)) && id "$service_user" >/dev/null 2>&1; then
    if has systemd-run && has_systemd; then
      timeout --kill-after=5 300 systemd-run --quiet --pipe --wait --collect \
        -p User="$service_user" -p Group="$service_user" -p CacheDirectory=file-processor-worker \
        -p CacheDirectoryMode=0700 -p NoNewPrivileges=yes -p UMask=0077 -p RuntimeMaxSec=290 \
        -E LOG_FILE=/var/log/file-processor/worker.log "$@" </dev/null
      return
    fi
    timeout --kill-after=5 300 runuser -u "$service_user" -- env -i PATH="$PATH" HOME=/ "${folders[@]}" "$@" </dev/null
    return
  fi
  timeout --kill-after=5 300 env -i PATH="$PATH" HOME="${HOME:-/}" "$@" </dev/null
}

doctor() {
  local arguments=(doctor "$@")
  [[ ! -e $env_file ]] || arguments+=(--env-file "$env_file")
  as_service "$program" "${arguments[@]}"
}

show_network() {
  section 8 "Network Connectivity and Permissions"
  if [[ ! -x $program ]]; then
    verdict SKIPPED "there is no program at $program that could try them"
    return
  fi
  local status=0
  doctor >"$work/doctor" 2>&1 || status=$?
  sed '/^Recommended actions:/,$d' "$work/doctor" | mask
  sed -n '/^Recommended actions:/,$p' "$work/doctor" |
    sed -nE 's/^ +[0-9]+\. (FAIL|WARN) (.*)$/\1|\2/p' >>"$work/actions"
  case $status in
    0) verdict OK "the doctor found nothing that keeps the worker from working" ;;
    1) verdict FAIL "the doctor found what keeps the worker from working, see its FAIL lines above" ;;
    124 | 137) verdict FAIL "the doctor did not end within 300 seconds" "run it by hand: $program doctor --env-file $env_file" ;;
    *) verdict FAIL "the doctor could not run (exit code $status), see above" "run it by hand: $program doctor --env-file $env_file" ;;
  esac
}

# ---- the whole ------------------------------------------------------------------------------------------------------

show_actions() {
  printf '\nRecommended actions:\n'
  if [[ ! -s $work/actions ]]; then
    printf '  none\n'
    return
  fi
  local number=0 kind text
  while IFS='|' read -r kind text; do
    number=$((number + 1))
    printf '  %d. %s %s\n' "$number" "$kind" "$text"
  done < <(awk '!seen[$0]++' "$work/actions" | sort -s -t '|' -k 1,1)
}

report() {
  printf '===================================\nFile Processor Worker Diagnostics\n===================================\n'
  local part
  for part in system instance environment service logs disk memory network actions; do
    # In a condition `set -e` is off: what one look lacks must not end the others.
    "show_$part" || true
  done
  printf '===================================\nDiagnostics Complete\n===================================\n'
}

# Everything that somebody far away needs, each file through the mask, and looked at once more before it is packed.
make_bundle() {
  local name files secret
  name=file-processor-debug-$(hostname)-$(date -u +%Y%m%dT%H%M%SZ)
  files=$work/$name
  mkdir "$files"
  cp "$work/report" "$files/report.txt"
  if [[ -x $program ]]; then { doctor --json 2>/dev/null || true; } | mask >"$files/doctor.json"; fi
  if [[ -r $env_file ]]; then mask <"$env_file" >"$files/environment.txt"; fi
  if has journalctl; then
    { within journalctl -u "$service" -n "$bundle_journal_lines" -o short-iso-precise --no-pager || true; } | mask >"$files/journal.txt"
    { within journalctl -k -p warning -n 200 --no-pager || true; } | mask >"$files/kernel.txt"
  fi
  if has_systemd; then
    { within systemctl show "$service" || true; } | mask >"$files/unit-state.txt"
    { within systemctl cat "$service" || true; } | mask >"$files/unit.txt"
  fi
  if has curl; then
    { within curl -s --max-time 5 --noproxy '*' http://127.0.0.1:9464/status || true; } | mask >"$files/status.json"
    { within curl -s --max-time 5 --noproxy '*' http://127.0.0.1:9464/metrics || true; } | mask >"$files/metrics.txt"
  fi
  while IFS= read -r secret; do
    if grep -rqF -e "$secret" "$files"; then
      complain "a secret of $env_file stands in the bundle all the same; nothing was written, please report this"
      return 1
    fi
  done <"$work/secrets"
  tar -C "$work" -czf "$bundle_dir/$name.tar.gz" "$name"
  printf '\nbundle for a ticket: %s\n' "$bundle_dir/$name.tar.gz"
}

report | mask | tee "$work/report"
if [[ -n $bundle_dir ]]; then make_bundle; fi
[[ ! -e $work/failed ]]
