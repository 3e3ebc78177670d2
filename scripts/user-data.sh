#!/bin/bash
# Makes a booted instance a worker: settings, CloudWatch agent, checks, start, report to the Auto Scaling group.
# cloud-init runs it on the first boot (packaging/terraform puts it into user data, with the settings beside it), and
# root may run it again at any time: what is right already stays as it is.
#
#   user-data.sh [--settings FILE] [--dry-run] [--deadline SECONDS] [--root DIR] [--group NAME]
#     --settings FILE     NAME=value a line, the value literal to the end of the line (no quotes, nothing expanded).
#                         Default /run/file-processor/settings. When there is none, /etc/file-processor/env is kept.
#     --dry-run           say what would be written and run, secrets masked; changes nothing
#     --deadline SECONDS  for checks and start together (default 600); the launch hook's timeout must be longer
#     --root DIR          put files below DIR (for tests)
#     --group NAME        the service's group (default appuser)
#
# Settings are the worker's variables (file-processor-worker config --help). These are for this script, not the worker:
#   LAUNCH_HOOK_NAME               the launch hook that waits for CONTINUE or ABANDON
#   OPENSEARCH_PASSWORD_PARAMETER  SSM SecureString parameter that becomes OPENSEARCH_PASSWORD
# Region, instance and group are asked of the instance's metadata (IMDSv2), AWS_EC2_METADATA_SERVICE_ENDPOINT is
# honoured. USER_DATA_RETRY_SECONDS is the pause between checks that fail (default 15).
#
# Writes /etc/file-processor/env (root:appuser 0640), the agent's configuration, and /var/log/user-data.log.
# Exit 0: the worker is ready. 1: it is not; the last lines say why. 2: wrong usage.

# Traced (bash -x), the values would be shown.
{ set +xv; } 2>/dev/null
set -Eeuo pipefail
export LC_ALL=C.UTF-8 AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=8 AWS_PAGER=
umask 077

unit="file-processor-worker.service"
check_unit="file-processor-worker-check.service"
agent_folder=/opt/aws/amazon-cloudwatch-agent
worker_log=/var/log/file-processor/worker.log

settings_file='' dry_run='' deadline_seconds=600 root='' group=appuser
declare -A setting=()
secrets=() log='' reason='' failed_line='' instance_id='' group_name='' reported='' env_changed='' env_before=''

say() {
  local line=$* secret
  for secret in "${secrets[@]}"; do line=${line//"$secret"/***}; done
  printf '%s\n' "$line"
  [[ -z $log ]] || printf '%s %s\n' "$(date -u +%FT%TZ)" "$line" >>"$log"
}

relay() {
  local line
  while IFS= read -r line || [[ -n $line ]]; do say "    $line"; done
}

fail() {
  reason=$*
  exit 1
}

usage_error() {
  printf 'user-data.sh: %s; see --help\n' "$*" >&2
  exit 2
}

show_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

read_arguments() {
  while (($#)); do
    case $1 in
      -h | --help) show_help && exit 0 ;;
      --dry-run) dry_run=1 ;;
      --settings | --deadline | --root | --group)
        (($# >= 2)) || usage_error "$1 needs a value"
        case $1 in
          --settings) settings_file=$2 ;;
          --deadline) deadline_seconds=$2 ;;
          --root) root=$2 ;;
          --group) group=$2 ;;
        esac
        shift
        ;;
      *) usage_error "unknown argument $1" ;;
    esac
    shift
  done
  [[ $deadline_seconds =~ ^[1-9][0-9]{0,4}$ ]] || usage_error "--deadline takes seconds from 1 to 99999, not '$deadline_seconds'"
  settings_file=${settings_file:-$root/run/file-processor/settings}
}

# --- settings ---

check_value() {
  [[ $2 != *[[:cntrl:]]* ]] || fail "the value of $1 holds a line break or another control character: write it in one line"
  [[ $1 != *@(PASSWORD|SECRET|TOKEN)* || $1 == *_PARAMETER || -z $2 ]] || secrets+=("$2")
}

# The line itself is never shown: it may hold a secret.
read_settings() {
  local line name number=0
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    [[ -n $line && $line != \#* ]] || continue
    name=${line%%=*}
    [[ $line == *=* && $name =~ ^[A-Z_][A-Z0-9_]*$ ]] ||
      fail "line $number of $settings_file is not NAME=value: correct it, or its neighbour if that has a line break in its value"
    check_value "$name" "${line#*=}"
    setting[$name]=${line#*=}
  done <"$settings_file"
}

# Values of the running environment file that this script needs when there are no settings.
read_environment_file() {
  local name
  for name in AWS_REGION CLOUDWATCH_LOG_GROUP LOG_FILE AUTO_SCALING_GROUP_NAME; do
    setting[$name]=$(sed -n "s/^$name=\"\([^\"\\\\]*\)\"\$/\1/p" "$root/etc/file-processor/env" | tail -n 1)
  done
}

metadata() {
  curl -fs --noproxy '*' --max-time 5 -H @- "$metadata_url/latest/meta-data/$1" <<<"X-aws-ec2-metadata-token: $metadata_token"
}

read_metadata() {
  metadata_url=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
  metadata_url=${metadata_url%/}
  if ! metadata_token=$(curl -fs --noproxy '*' --connect-timeout 2 --max-time 5 --retry 3 --retry-delay 1 --retry-connrefused -X PUT \
    -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$metadata_url/latest/api/token"); then
    say "no instance metadata: not on EC2, or switched off; no group will be told"
    return 0
  fi
  instance_id=$(metadata instance-id) || instance_id=''
  [[ -n ${setting[AWS_REGION]:-} ]] || setting[AWS_REGION]=$(metadata placement/region) || fail "AWS_REGION is not set, and metadata do not tell the region"
  # The group of the instance, not that of the template: a blue/green deployment has two.
  group_name=$(metadata tags/instance/aws:autoscaling:groupName) || group_name=${setting[AUTO_SCALING_GROUP_NAME]:-}
  [[ -z $group_name ]] || setting[AUTO_SCALING_GROUP_NAME]=$group_name
  say "instance ${instance_id:-unknown} in ${setting[AWS_REGION]:-}, group ${group_name:-none}"
}

read_password() {
  local parameter=${setting[OPENSEARCH_PASSWORD_PARAMETER]:-} password
  [[ -n $parameter ]] || return 0
  if [[ -n $dry_run ]]; then
    setting[OPENSEARCH_PASSWORD]='***'
    return
  fi
  password=$(aws ssm get-parameter --region "${setting[AWS_REGION]}" --name "$parameter" --with-decryption \
    --query Parameter.Value --output text) ||
    fail "parameter $parameter could not be read: see that it exists and that the instance's role allows ssm:GetParameter on it"
  check_value OPENSEARCH_PASSWORD "$password"
  setting[OPENSEARCH_PASSWORD]=$password
}

# --- files ---

# write_file PATH MODE OWNER TEXT: whole or not at all. Status 10 when it had this text already.
write_file() {
  local path=$root$1 mode=$2 owner=$3 text=$4
  if [[ -n $dry_run ]]; then
    say "would write $path:"
    relay <<<"$text"
    return 0
  fi
  if [[ -f $path && $(<"$path") == "$text" ]]; then
    chown "$owner" "$path" && chmod "$mode" "$path" && return 10
    return 1
  fi
  # Callers look at the status, so errexit is off in here.
  local part
  part=$(mktemp "$path.XXXXXX") || return 1
  if printf '%s\n' "$text" >"$part" && chown "$owner" "$part" && chmod "$mode" "$part" && mv -f "$part" "$path"; then
    return 0
  fi
  rm -f "$part"
  return 1
}

# As systemd reads it: within double quotes \ " ` and $ are escaped, nothing else is special.
quoted() {
  local value=$1 special backslash=$'\\'
  for special in "$backslash" '"' '`' '$'; do value=${value//"$special"/"$backslash$special"}; done
  printf '"%s"' "$value"
}

write_environment() {
  local name text='# Written by user-data.sh; see file-processor-worker config --help.' status=0
  setting[LOG_FILE]=${setting[LOG_FILE]:-$worker_log}
  while IFS= read -r name; do
    case $name in LAUNCH_HOOK_NAME | OPENSEARCH_PASSWORD_PARAMETER) continue ;; esac
    text+=$'\n'"$name=$(quoted "${setting[$name]}")"
  done < <(printf '%s\n' "${!setting[@]}" | sort)
  iconv -f UTF-8 -t UTF-8 <<<"$text" >/dev/null 2>&1 || fail "$settings_file is not UTF-8: systemd would drop such values"
  [[ -n $dry_run ]] || install -d -m 0750 -g "$group" "$root/etc/file-processor"
  [[ ! -f $root/etc/file-processor/env ]] || env_before=$(<"$root/etc/file-processor/env")
  write_file /etc/file-processor/env 0640 "root:$group" "$text" || status=$?
  case $status in
    0) env_changed=1 && say "wrote /etc/file-processor/env" ;;
    10) say "/etc/file-processor/env is as it should be" ;;
    *) fail "/etc/file-processor/env could not be written" ;;
  esac
}

json_string() {
  local value=$1 backslash=$'\\'
  value=${value//"$backslash"/"$backslash$backslash"}
  printf '"%s"' "${value//'"'/"$backslash"'"'}"
}

log_source() {
  printf '{ "file_path": %s, "log_group_name": %s, "log_stream_name": "{instance_id}%s", "timezone": "UTC" }' \
    "$(json_string "$1")" "$(json_string "${setting[CLOUDWATCH_LOG_GROUP]:-/aws/ec2/file-processor}")" "$2"
}

# The group is written out as a dimension: the agent's own way to learn it needs a permission on all instances' tags.
agent_configuration() {
  local of_group=''
  [[ -z $group_name ]] || of_group=", \"append_dimensions\": { \"AutoScalingGroupName\": $(json_string "$group_name") }"
  cat <<JSON
{
  "agent": { "metrics_collection_interval": 60, "run_as_user": "cwagent", "omit_hostname": true },
  "logs": { "logs_collected": { "files": { "collect_list": [
    $(log_source "${setting[LOG_FILE]:-$worker_log}" ''),
    $(log_source /var/log/file-processor-check.log -check),
    $(log_source /var/log/user-data.log -userdata)
  ] } } },
  "metrics": {
    "namespace": "FileProcessor",
    "append_dimensions": { "InstanceId": "\${aws:InstanceId}", "InstanceType": "\${aws:InstanceType}" },
    "aggregation_dimensions": [["AutoScalingGroupName"], ["InstanceId"]],
    "metrics_collected": {
      "cpu": { "totalcpu": true, "measurement": [{ "name": "cpu_usage_idle", "rename": "CPU_IDLE", "unit": "Percent" }]$of_group },
      "disk": { "resources": ["/"], "drop_device": true, "measurement": [{ "name": "used_percent", "rename": "DISK_USED", "unit": "Percent" }]$of_group },
      "mem": { "measurement": [{ "name": "mem_used_percent", "rename": "MEM_USED", "unit": "Percent" }]$of_group }
    }
  }
}
JSON
}

# Without logs in CloudWatch the worker still works: the agent's troubles are told and do not stop it.
start_agent() {
  local path=$agent_folder/etc/cloudwatch-config.json control=$root$agent_folder/bin/amazon-cloudwatch-agent-ctl status=0
  if [[ ! -x $control && -z $dry_run ]]; then
    say "WARNING: no CloudWatch agent at $control: logs stay on this machine"
    return 0
  fi
  write_file "$path" 0644 root:root "$(agent_configuration)" || status=$?
  { ((status == 0 || status == 10)) && run_shown "$control" -a fetch-config -m ec2 -s -c "file:$root$path"; } ||
    say "WARNING: the CloudWatch agent did not start: logs stay on this machine"
}

# --- service ---

run_shown() {
  if [[ -n $dry_run ]]; then
    say "would run: $*"
    return 0
  fi
  "$@" 2>&1 | relay
}

seconds_left() { printf '%s' $((deadline - SECONDS > 0 ? deadline - SECONDS : 0)); }

# The check unit has user, variables, folders and sandbox of the service: what holds there holds for the service. A
# permission or an endpoint may come some minutes after the instance; what this machine itself lacks stays lacking.
check_worker() {
  local file=$root/var/log/file-processor-check.log report='' before status
  [[ -z $dry_run ]] || { say "would run: systemctl start $check_unit" && return 0; }
  systemctl cat "$check_unit" >/dev/null 2>&1 || fail "this image has no $check_unit: build it with the worker's RPM"
  say "checking configuration, servers, models and sandbox"
  while true; do
    status=0 before=$report report=''
    timeout "$(($(seconds_left) + 1))" systemctl start "$check_unit" >/dev/null 2>&1 || status=$?
    [[ ! -f $file ]] || report=$(<"$file")
    [[ $report == "$before" ]] || relay <<<"$report"
    ((status != 0)) || return 0
    ! grep -qE '^FAILED +(configuration|disk|models|pdfium|sandbox) ' <<<"$report" || break
    (($(seconds_left) > 0)) || break
    sleep "${USER_DATA_RETRY_SECONDS:-15}"
  done
  restore_environment
  report=$(grep '^FAILED' <<<"$report" | tr -s ' ' | paste -sd ';' || true)
  fail "the worker's checks failed: ${report:-$check_unit ended with status $status and no report; see journalctl -u $check_unit}"
}

# A running service must not find settings at its next start that the checks refused.
restore_environment() {
  [[ -n $env_changed && -n $env_before ]] || return 0
  write_file /etc/file-processor/env 0640 "root:$group" "$env_before" && say "/etc/file-processor/env is again what it was"
}

# systemctl returns when the worker has said READY. After a failed start systemd tries again by itself; that counts too.
start_worker() {
  local verb=start state
  if [[ -n $dry_run ]]; then
    say "would run: systemctl start $unit, and wait for READY"
    return 0
  fi
  if systemctl is-active --quiet "$unit"; then
    if [[ -z $env_changed ]]; then
      say "$unit is running with these settings"
      return 0
    fi
    verb=restart
  fi
  systemctl reset-failed "$unit" 2>/dev/null || true
  say "$verb of $unit"
  timeout "$(($(seconds_left) + 1))" systemctl "$verb" "$unit" || true
  while true; do
    state=$(systemctl is-active "$unit") || true
    case $state in
      active) return 0 ;;
      failed | inactive) fail "$unit did not become ready: it is $state" ;;
    esac
    (($(seconds_left) > 0)) || fail "$unit did not become ready within $deadline_seconds seconds: it is $state"
    sleep 2
  done
}

show_service() {
  systemctl show "$unit" -p ActiveState -p SubState -p Result -p ExecMainStatus -p StatusText 2>&1 | relay || true
  journalctl -u "$unit" -n 30 --no-pager -o cat 2>&1 | relay || true
}

report() {
  local result=$1 hook=${setting[LAUNCH_HOOK_NAME]:-} answer
  [[ -z $reported && -n $hook && -n $instance_id && -n $group_name ]] || return 0
  reported=1
  [[ -z $dry_run ]] || { say "would report $result to hook $hook of group $group_name" && return 0; }
  if answer=$(aws autoscaling complete-lifecycle-action --region "${setting[AWS_REGION]}" --auto-scaling-group-name "$group_name" \
    --lifecycle-hook-name "$hook" --instance-id "$instance_id" --lifecycle-action-result "$result" 2>&1); then
    say "reported $result to hook $hook of group $group_name"
  elif [[ $answer == *"No active Lifecycle Action"* ]]; then
    say "hook $hook of group $group_name waits for no report"
  else
    say "WARNING: $result could not be reported to hook $hook of group $group_name, which will end by its timeout: $answer"
  fi
}

at_exit() {
  local status=$?
  trap - EXIT ERR
  set +e
  ((status != 0)) || return 0
  reason=${reason:-a command failed in line $failed_line}
  [[ -n $dry_run ]] || show_service
  say "FAILED: $reason"
  # Where somebody looks who has no way into the instance (EC2: get system log).
  [[ -n $dry_run || -t 1 || ! -w $root/dev/console ]] || (log='' && say "user-data.sh FAILED: $reason" >"$root/dev/console")
  report ABANDON
  exit 1
}

main() {
  read_arguments "$@"
  trap at_exit EXIT
  trap 'failed_line=$LINENO' ERR
  if [[ -z $dry_run ]]; then
    ((EUID == 0)) || fail "this changes the system: run it as root, or with --dry-run"
    exec 9>"$root/run/file-processor-user-data.lock"
    flock -n 9 || fail "another run of this script is going on: wait for its end"
    log=$root/var/log/user-data.log
    touch "$log" && chgrp "$group" "$log" && chmod 0640 "$log"
  fi
  deadline=$((SECONDS + deadline_seconds))
  say "making this instance a worker"
  if [[ -f $settings_file ]]; then
    read_settings
  elif [[ -f $root/etc/file-processor/env ]]; then
    say "no $settings_file: /etc/file-processor/env is kept"
    read_environment_file
  else
    fail "there are no settings: write $settings_file, NAME=value a line"
  fi
  read_metadata
  if [[ -f $settings_file ]]; then
    read_password
    write_environment
  fi
  start_agent
  check_worker
  start_worker
  report CONTINUE
  say "the worker is ready"
}

main "$@"
