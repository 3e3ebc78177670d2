#!/usr/bin/env bats
# scripts/user-data.sh in a root of its own, with the testbed's metadata service, and an aws and a systemctl that follow
# a script. The last test has a real systemd; what cloud-init makes of it is in apply.bats.

load support/cloud-tools
load support/booted-system

bats_require_minimum_version 1.5.0

setup_file() {
  coproc imds { exec python3 "$REPO_DIR/scripts/testbed/imds_stub.py" 0 3>&-; }
  read -r AWS_EC2_METADATA_SERVICE_ENDPOINT <&"${imds[0]}"
  export AWS_EC2_METADATA_SERVICE_ENDPOINT imds_pid=$imds_PID
  # A group that is not root's, so that a wrong owner shows; appuser exists only where the package is installed.
  export group=daemon
}

teardown_file() { [[ -z ${imds_pid:-} ]] || kill "$imds_pid" || true; }

teardown() { booted_system_stop "$BATS_TEST_TMPDIR/system"; }

setup() {
  ((EUID == 0)) || skip "user data runs as root, and so do its tests"
  root=$BATS_TEST_TMPDIR/root
  mkdir -p "$root"/{etc,dev,run/file-processor,var/log,opt/aws/amazon-cloudwatch-agent/{bin,etc}} "$BATS_TEST_TMPDIR/bin"
  : >"$root/dev/console"
  export root calls=$BATS_TEST_TMPDIR/calls world=$BATS_TEST_TMPDIR
  export USER_DATA_RETRY_SECONDS=0 PATH=$BATS_TEST_TMPDIR/bin:$PATH
  : >"$calls"
  metadata '{"tags/instance/aws:autoscaling:groupName": "workers", "placement/region": "ap-northeast-1", "$fail": null}'
  cp "$BATS_TEST_DIRNAME/support/scripted-aws.sh" "$world/bin/aws"
  cp "$BATS_TEST_DIRNAME/support/scripted-systemctl.sh" "$world/bin/systemctl"
  printf '#!/bin/sh\ncat "$world/journal" 2>/dev/null\n' >"$world/bin/journalctl"
  printf '#!/bin/sh\necho "agent $*" >>"$calls"\n' >"$root/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
  chmod +x "$world"/bin/* "$root"/opt/aws/amazon-cloudwatch-agent/bin/*
  settings 'SQS_QUEUE_URL=https://sqs.example/1/files' 'S3_BUCKET=files' 'OPENSEARCH_ENDPOINT=https://search.example' \
    'LIFECYCLE_HOOK_NAME=drain' 'LAUNCH_HOOK_NAME=launch'
}

metadata() { curl -sf --noproxy '*' -o /dev/null -d "$1" "$AWS_EC2_METADATA_SERVICE_ENDPOINT/_control"; }
settings() { printf '%s\n' "$@" >"$root/run/file-processor/settings"; }
more_settings() { printf '%s\n' "$@" >>"$root/run/file-processor/settings"; }
user_data() {
  run "$REPO_DIR/scripts/user-data.sh" --root "$root" --group "$group" --deadline 20 "$@"
  echo "$output"
}
was_called() { grep -q -- "$1" "$calls"; }
env_file() { printf '%s\n' "$root/etc/file-processor/env"; }
reported() { grep -o -- '--lifecycle-action-result [A-Z]*' "$calls" | cut -d' ' -f2; }

@test "a first boot: environment, agent, checks, start, report, in this order" {
  user_data
  [ "$status" -eq 0 ]
  [ "$(stat -c '%U:%G %a' "$(env_file)")" = "root:$group 640" ]
  [ "$(stat -c '%G %a' "$root/etc/file-processor")" = "$group 750" ]
  grep -qx 'SQS_QUEUE_URL="https://sqs.example/1/files"' "$(env_file)"
  grep -qx 'AWS_REGION="ap-northeast-1"' "$(env_file)"
  grep -qx 'AUTO_SCALING_GROUP_NAME="workers"' "$(env_file)"
  grep -qx 'LOG_FILE="/var/log/file-processor/worker.log"' "$(env_file)"
  refute grep -q LAUNCH_HOOK_NAME "$(env_file)"
  diff <(grep -oE '^(agent|systemctl (start|restart) [a-z.-]*|aws autoscaling)' "$calls") - <<'ORDER'
agent
systemctl start file-processor-worker-check.service
systemctl start file-processor-worker.service
aws autoscaling
ORDER
  was_called '--auto-scaling-group-name workers --lifecycle-hook-name launch --instance-id i-0123456789abcdef0 --lifecycle-action-result CONTINUE'
  [ "$(stat -c '%G %a' "$root/var/log/user-data.log")" = "$group 640" ]
  grep -q 'the worker is ready' "$root/var/log/user-data.log"
}

@test "the agent ships the worker's log and its own metrics, with the group as a dimension" {
  more_settings 'CLOUDWATCH_LOG_GROUP=/aws/ec2/other' 'LOG_FILE=/var/log/file-processor/other.log'
  user_data
  local file=$root/opt/aws/amazon-cloudwatch-agent/etc/cloudwatch-config.json
  was_called "agent -a fetch-config -m ec2 -s -c file:$file"
  python3 - "$file" <<'PYTHON'
import json, sys
agent = json.load(open(sys.argv[1]))
sources = agent["logs"]["logs_collected"]["files"]["collect_list"]
assert {(s["file_path"], s["log_stream_name"]) for s in sources} == {
    ("/var/log/file-processor/other.log", "{instance_id}"),
    ("/var/log/file-processor-check.log", "{instance_id}-check"),
    ("/var/log/user-data.log", "{instance_id}-userdata")}, sources
assert {s["log_group_name"] for s in sources} == {"/aws/ec2/other"}
metrics = agent["metrics"]
assert metrics["namespace"] == "FileProcessor" and metrics["append_dimensions"]["InstanceId"] == "${aws:InstanceId}"
names = {m["rename"]: kind["append_dimensions"] for kind in metrics["metrics_collected"].values() for m in kind["measurement"]}
assert names == {name: {"AutoScalingGroupName": "workers"} for name in ("CPU_IDLE", "DISK_USED", "MEM_USED")}, names
PYTHON
}

@test "without an agent the worker starts all the same, and it is said" {
  rm "$root"/opt/aws/amazon-cloudwatch-agent/bin/*
  user_data
  [ "$status" -eq 0 ]
  [[ $output == *"WARNING: no CloudWatch agent"* ]]
}

# Every character that some reader takes for something else.
hostile_settings() {
  more_settings 'OPENSEARCH_PASSWORD=$x"' 'OPENSEARCH_USERNAME=back\slash \n "double" '"'single'"' `tick` $HOME ${x} $(id) %d #hash ; & | <>' \
    'TEMP_DIR=  /spool/道 路「橋」  ' 'TESSDATA_PREFIX=trailing\' 'PDFIUM_LIBRARY_PATH="quoted"' "CLOUDWATCH_LOG_GROUP=#=a=b;"
}

@test "the worker reads hostile values as they were given" {
  local binary
  binary=$(worker_binary) || skip "$binary"
  hostile_settings
  user_data
  [ "$status" -eq 0 ]
  env -i HOME="$HOME" "$binary" config --json --env-file "$(env_file)" | python3 -c '
import json, sys
given = dict(line.rstrip("\n").split("=", 1) for line in open(sys.argv[1]))
read = {setting["name"]: setting["value"] for setting in json.load(sys.stdin)}
checked = [name for name in given if name in read and not name.startswith(("SQS", "OPENSEARCH_E"))]
assert len(checked) >= 7, checked
for name in checked:  # the worker itself drops white space around a value
    expected = "****" if name == "OPENSEARCH_PASSWORD" else given[name].strip()
    assert str(read[name]) == expected, (name, read[name], given[name])' "$root/run/file-processor/settings"
}

@test "a value with a control character, a line that is none, and text that is not UTF-8 are refused, unseen" {
  local bad
  for bad in $'OPENSEARCH_PASSWORD=hunter\r2' $'OPENSEARCH_PASSWORD=hunter\t2' 'hunter2 without a name' '=hunter2' 'export A=hunter2' \
    $'OPENSEARCH_PASSWORD=hunter2\xff'; do
    settings 'S3_BUCKET=files' 'LAUNCH_HOOK_NAME=launch' "$bad"
    user_data
    [ "$status" -eq 1 ]
    [[ $output != *hunter* && $output == *FAILED* ]]
    [ ! -e "$(env_file)" ]
  done
  [ "$(reported | sort -u)" = ABANDON ]
}

@test "the password comes from its parameter and is shown nowhere, even when traced and when the journal holds it" {
  more_settings 'OPENSEARCH_USERNAME=worker' 'OPENSEARCH_PASSWORD_PARAMETER=/file-processor/password' 'AN_API_TOKEN=tok$en'
  printf '%s\n' 'hunter2 "$x' >"$world/parameter"
  echo 'activating failed' >"$world/states"
  echo 'refused: password hunter2 "$x, tok$en' >"$world/journal"
  run bash -xv "$REPO_DIR/scripts/user-data.sh" --root "$root" --group "$group"
  [ "$status" -eq 1 ]
  was_called 'aws ssm get-parameter --region ap-northeast-1 --name /file-processor/password --with-decryption'
  grep -qxF 'OPENSEARCH_PASSWORD="hunter2 \"\$x"' "$(env_file)"
  refute grep -q PARAMETER "$(env_file)"
  [[ $output == *'refused: password ***, ***'* ]]
  printf '%s\n' "$output" >"$BATS_TEST_TMPDIR/output"
  refute grep -qF -e 'hunter2' -e 'tok$en' "$BATS_TEST_TMPDIR/output" "$calls" "$root/var/log/user-data.log" "$root/dev/console"
}

@test "a parameter that cannot be read is named, and the group is told" {
  more_settings 'OPENSEARCH_PASSWORD_PARAMETER=/file-processor/password'
  user_data
  [ "$status" -eq 1 ]
  [[ $output == *"FAILED: parameter /file-processor/password could not be read"* ]]
  [ "$(reported)" = ABANDON ]
}

@test "a wrong configuration: the service is not started, the instance is given up, the console says why" {
  echo '1 FAILED  configuration      MAX_WORKERS "many": a whole number' >"$world/checks"
  user_data
  [ "$status" -eq 1 ]
  [[ ${lines[-2]} == *'FAILED: the worker'*'MAX_WORKERS "many"'* ]]
  [ "$(grep -c 'start file-processor-worker-check' "$calls")" -eq 1 ]
  refute was_called 'systemctl start file-processor-worker.service'
  [ "$(reported)" = ABANDON ]
  grep -q 'FAILED.*MAX_WORKERS' "$root/dev/console"
}

@test "what the machine itself lacks is not waited for" {
  printf '%s\n' '1 FAILED  sandbox            no child could start' '0 ok      queue' >"$world/checks"
  user_data
  [ "$status" -eq 1 ]
  [ "$(grep -c 'start file-processor-worker-check' "$calls")" -eq 1 ]
  [ "$(reported)" = ABANDON ]
}

@test "a check that leaves no report is a failure that says where to look" {
  yes '1 ' | head -n 10000 >"$world/checks"
  USER_DATA_RETRY_SECONDS=0.2 user_data --deadline 1
  [ "$status" -eq 1 ]
  [[ $output == *"file-processor-worker-check.service ended with status 1 and no report"* ]]
}

@test "a permission that comes late is waited for" {
  printf '%s\n' '1 FAILED  queue              access denied' '1 FAILED  index              connection refused' '0 ok      queue' >"$world/checks"
  user_data
  [ "$status" -eq 0 ]
  [ "$(grep -c 'start file-processor-worker-check' "$calls")" -eq 3 ]
  [ "$(reported)" = CONTINUE ]
}

@test "checks that never pass end at the deadline" {
  yes '1 FAILED  index              connection refused' | head -n 10000 >"$world/checks"
  USER_DATA_RETRY_SECONDS=0.2 user_data --deadline 1
  [ "$status" -eq 1 ]
  [[ $output == *"FAILED: the worker's checks failed: FAILED index connection refused"* ]]
  [ "$(reported)" = ABANDON ]
}

@test "a service that fails is shown with its journal, and the instance is given up" {
  echo 'activating failed' >"$world/states"
  echo 'index cis-files-v2 does not exist' >"$world/journal"
  user_data
  [ "$status" -eq 1 ]
  [[ $output == *"index cis-files-v2 does not exist"* && $output == *"did not become ready: it is failed"* ]]
  [ "$(reported)" = ABANDON ]
}

@test "a service that systemd starts once more and that then is ready counts" {
  echo 'activating activating active' >"$world/states"
  user_data
  [ "$status" -eq 0 ]
  [ "$(reported)" = CONTINUE ]
}

@test "a service that never becomes ready ends at the deadline" {
  echo 'activating' >"$world/states"
  user_data --deadline 1
  [ "$status" -eq 1 ]
  [[ $output == *"did not become ready within 1 seconds: it is activating"* ]]
  [ "$(reported)" = ABANDON ]
}

@test "a second run leaves everything as it is; that nobody waits for its report is no failure" {
  user_data
  local before
  before=$(stat -c '%i %Y' "$(env_file)")
  echo active >"$world/states"
  echo 'An error occurred (ValidationError): No active Lifecycle Action found with token' >"$world/refusal"
  : >"$calls"
  user_data
  [ "$status" -eq 0 ]
  [ "$(stat -c '%i %Y' "$(env_file)")" = "$before" ]
  refute was_called 'systemctl restart'
  [[ $output == *"is running with these settings"* && $output == *"waits for no report"* ]]
}

@test "changed settings restart a running service" {
  user_data
  echo active >"$world/states"
  more_settings 'MAX_WORKERS=2'
  user_data
  [ "$status" -eq 0 ]
  was_called 'systemctl restart file-processor-worker.service'
  grep -qx 'MAX_WORKERS="2"' "$(env_file)"
}

@test "settings that the checks refuse do not stay: the service that runs keeps its own" {
  user_data
  local before
  before=$(<"$(env_file)")
  echo active >"$world/states"
  more_settings 'MAX_WORKERS=many'
  echo '1 FAILED  configuration      MAX_WORKERS "many": a whole number' >"$world/checks"
  : >"$calls"
  user_data
  [ "$status" -eq 1 ]
  [ "$(<"$(env_file)")" = "$before" ]
  [ "$(stat -c '%U:%G %a' "$(env_file)")" = "root:$group 640" ]
  refute was_called 'systemctl restart'
}

@test "without settings the environment that is there is kept, and without that it is said" {
  user_data
  rm "$root/run/file-processor/settings"
  printf 'S3_BUCKET="by hand"\n' >"$(env_file)"
  user_data
  [ "$status" -eq 0 ]
  [ "$(<"$(env_file)")" = 'S3_BUCKET="by hand"' ]
  rm "$(env_file)"
  user_data
  [ "$status" -eq 1 ]
  [[ $output == *"there are no settings: write "* ]]
}

@test "a blue/green deployment: the group of the instance counts, not that of the settings" {
  more_settings 'AUTO_SCALING_GROUP_NAME=blue'
  metadata '{"tags/instance/aws:autoscaling:groupName": "blue-green-20261122"}'
  user_data
  grep -qx 'AUTO_SCALING_GROUP_NAME="blue-green-20261122"' "$(env_file)"
  was_called '--auto-scaling-group-name blue-green-20261122'
}

@test "a machine without metadata becomes a worker and reports to nobody" {
  more_settings 'AWS_REGION=ap-northeast-1'
  metadata '{"$fail": 404}'
  user_data
  [ "$status" -eq 0 ]
  [ -z "$(reported)" ]
  [[ $output == *"no instance metadata"* ]]
}

@test "a report that does not arrive is said, and the running worker is left alone" {
  echo 'An error occurred (AccessDenied)' >"$world/refusal"
  user_data
  [ "$status" -eq 0 ]
  [[ $output == *"WARNING: CONTINUE could not be reported"*AccessDenied* ]]
}

@test "--dry-run shows everything, changes nothing, hides secrets" {
  more_settings 'OPENSEARCH_PASSWORD=hunter2'
  local before
  before=$(find "$root" -printf '%p %s %T@\n' | sort)
  user_data --dry-run
  [ "$status" -eq 0 ]
  [ "$(find "$root" -printf '%p %s %T@\n' | sort)" = "$before" ]
  [ ! -s "$calls" ]
  [[ $output == *'OPENSEARCH_PASSWORD="***"'* && $output == *"would run: systemctl start"* && $output != *hunter2* ]]
}

@test "a second run at the same time is refused" {
  exec 8>"$root/run/file-processor-user-data.lock"
  flock 8
  user_data
  exec 8>&-
  [ "$status" -eq 1 ]
  [[ $output == *"another run of this script is going on"* ]]
}

@test "wrong usage is exit 2, and the manual names every option" {
  user_data --sometimes
  [ "$status" -eq 2 ]
  user_data --deadline soon
  [ "$status" -eq 2 ]
  user_data --help
  [ "$status" -eq 0 ]
  for option in --settings --dry-run --deadline --root --group; do [[ $output == *"$option"* ]]; done
}

@test "the script has shell's usual form, and only ASCII, as its part of user data says" {
  command -v shellcheck >/dev/null || skip "shellcheck is not installed"
  shellcheck "$REPO_DIR/scripts/user-data.sh"
  ! command -v shfmt >/dev/null || shfmt -i 2 -ci -d "$REPO_DIR/scripts/user-data.sh"
  refute env LC_ALL=C grep -n '[^ -~]' "$REPO_DIR/scripts/user-data.sh"
}

# The service of this test says READY when the file ready is there, and keeps what systemd gave it as environment.
service_files() {
  cat >"$1/etc/systemd/system/file-processor-worker-check.service" <<'UNIT'
[Service]
Type=oneshot
EnvironmentFile=/etc/file-processor/env
ExecStart=/bin/echo "ok      configuration      checked"
StandardOutput=truncate:/var/log/file-processor-check.log
UNIT
  cat >"$1/etc/systemd/system/file-processor-worker.service" <<'UNIT'
[Service]
Type=notify
NotifyAccess=all
EnvironmentFile=/etc/file-processor/env
ExecStart=/usr/local/bin/worker-of-this-test
UNIT
  cat >"$1/usr/local/bin/worker-of-this-test" <<'PROGRAM'
#!/bin/bash
env -0 >/etc/seen-environment
until [[ -e /etc/ready || -e /etc/broken ]]; do sleep 0.1; done
[[ ! -e /etc/broken ]] || { echo "index does not exist"; exit 1; }
systemd-notify --ready
exec sleep infinity
PROGRAM
  printf '#!/bin/sh\necho "$*" >>/etc/aws.calls\n' >"$1/usr/local/bin/aws"
  chmod +x "$1/usr/local/bin/worker-of-this-test" "$1/usr/local/bin/aws"
}

@test "with a real systemd: it waits for READY, values arrive letter by letter, a failure is reported" {
  local system=$BATS_TEST_TMPDIR/system machine_root
  machine_root=$(booted_system_prepare "$system") || skip "$machine_root"
  hostile_settings
  cp "$root/run/file-processor/settings" "$machine_root/etc/settings"
  cp "$REPO_DIR/scripts/user-data.sh" "$machine_root/usr/local/bin/"
  service_files "$machine_root"
  booted_system_start "$system"
  local command=(inside "$system" env "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin" user-data.sh --settings /etc/settings --group "$group")

  "${command[@]}" >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
  local pid=$!
  wait_until 30 test -s "$machine_root/etc/seen-environment"
  # The service runs and is not ready: neither is user data.
  kill -0 "$pid"
  [ ! -e "$machine_root/etc/aws.calls" ]
  touch "$machine_root/etc/ready"
  wait "$pid" || { cat "$BATS_TEST_TMPDIR/out" && false; }
  grep -q 'lifecycle-action-result CONTINUE' "$machine_root/etc/aws.calls"
  python3 - "$root/run/file-processor/settings" "$machine_root/etc/seen-environment" <<'PYTHON'
import sys
given = dict(line.rstrip("\n").split("=", 1) for line in open(sys.argv[1]))
seen = dict(entry.split("=", 1) for entry in open(sys.argv[2], newline="").read().split("\0") if entry)
assert given.pop("LAUNCH_HOOK_NAME") and "LAUNCH_HOOK_NAME" not in seen
for name, value in given.items():
    assert seen[name] == value, (name, seen.get(name), value)
PYTHON

  inside "$system" systemctl stop file-processor-worker.service
  touch "$machine_root/etc/broken"
  run "${command[@]}"
  echo "$output"
  [ "$status" -eq 1 ]
  [[ $output == *"index does not exist"* && $output == *"FAILED: file-processor-worker.service did not become ready: it is failed"* ]]
  grep -q 'lifecycle-action-result ABANDON' "$machine_root/etc/aws.calls"
}
