#!/usr/bin/env bats
# The module applied for real against the local AWS (tests/deployment/moto), and the worker run on what it made: with the
# environment that user data writes, on objects that come by the bucket's own events; and the deploy scripts on its
# group, with the real CLI. The tests build on each other.
#
# Two minutes, most of which are the provider's own waits for queues.

load support/cloud-tools
load support/deploy-tools

setup_file() {
  local said
  # Each refresh of the group goes through these, one a look.
  export MOTO_PLUS_REFRESH='Pending InProgress Baking Successful'
  unavailable=''
  module=$(prepare_module "$BATS_FILE_TMPDIR/module") || unavailable=$module
  binary=$(worker_binary) || unavailable=$binary
  said=$(moto_packages) || unavailable=$said
  export module binary unavailable
  [[ -z $unavailable ]] || return 0
  start_moto "$BATS_FILE_TMPDIR/moto.log"
  cli_pid=''
  if aws_python=$(tool_awscli_python); then
    "$aws_python" "$deployment_dir/support/aws_cli.py" serve "$BATS_FILE_TMPDIR/cli" "$MOTO_URL" >"$BATS_FILE_TMPDIR/cli.log" 2>&1 3>&- &
    cli_pid=$!
  fi
  export aws_python cli_pid

  opensearch_was_up=''
  if [[ -n ${TESTBED_OPENSEARCH_ENDPOINT:-} ]]; then
    opensearch=$TESTBED_OPENSEARCH_ENDPOINT
  else
    ! curl -sf --noproxy '*' -o /dev/null "http://127.0.0.1:${OPENSEARCH_PORT:-9200}/" || opensearch_was_up=1
    opensearch=$("$REPO_DIR/scripts/testbed/start-opensearch.sh" 3>&-)
  fi
  index=deployment-test-$RANDOM$RANDOM
  export opensearch opensearch_was_up index

  # What the module expects to find: network, image, bucket.
  said=$(ask_aws '
ec2 = boto3.client("ec2")
boto3.client("s3").create_bucket(Bucket="cis-filesearch-storage",
                                 CreateBucketConfiguration={"LocationConstraint": "ap-northeast-1"})
print(ec2.describe_vpcs()["Vpcs"][0]["VpcId"], ec2.describe_subnets()["Subnets"][0]["SubnetId"])')
  read -r vpc subnet <<<"$said"
  image=$(make_image 1)
  export image
  cat >"$module/provider_override.tf" <<'HCL'
provider "aws" {
  s3_use_path_style = true
}
HCL
  cat >"$module/terraform.tfvars" <<TFVARS
vpc_id                            = "$vpc"
private_subnet_ids                = ["$subnet"]
source_bucket                     = "cis-filesearch-storage"
manage_source_bucket_notification = true
force_destroy_thumbnails          = true
opensearch_endpoint               = "$opensearch"
opensearch_index                  = "$index"
opensearch_domain_arn             = "arn:aws:es:ap-northeast-1:123456789012:domain/files"
github_repository                 = "example-org/file-processor"
worker_environment                = { OCR_LANGUAGE = "jpn+eng", MAX_WORKERS = "1", SQS_WAIT_TIME = "1" }
TFVARS
}

teardown_file() {
  local pid
  for pid in ${MOTO_PID:-} ${cli_pid:-}; do kill "$pid" || true; done
  [[ -n ${opensearch:-} ]] || return 0
  curl -s --noproxy '*' -o /dev/null -X DELETE "$opensearch/$index" || true
  [[ -n ${opensearch_was_up:-} || -n ${TESTBED_OPENSEARCH_ENDPOINT:-} ]] ||
    "$REPO_DIR/scripts/testbed/stop-opensearch.sh"
}

# make_image NUMBER: one more of our own images, with the worker's tags; prints its id.
make_image() {
  ask_aws '
ec2 = boto3.client("ec2")
base = ec2.describe_images()["Images"][0]["ImageId"]
builder = ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
print(ec2.create_image(InstanceId=builder, Name=f"file-processor-worker-v20260101-00000{sys.argv[1]}", TagSpecifications=[
    {"ResourceType": "image", "Tags": [{"Key": "Application", "Value": "file-processor"}]}])["ImageId"])
ec2.terminate_instances(InstanceIds=[builder])' "$1"
}

newest_image() { ask_aws 'print(max(boto3.client("ec2").describe_images(Owners=["self"])["Images"], key=lambda image: image["Name"])["ImageId"])'; }

# in_module COMMAND ARGUMENT...: of terraform, with an image.
in_module() { terraform -chdir="$module" "$1" -no-color -input=false -var "ami_id=${use_image:-$image}" "${@:2}"; }

@test "apply makes everything" {
  run in_module apply -auto-approve
  echo "$output"
  [ "$status" -eq 0 ]
  grep -Eq '^Apply complete! Resources: [0-9]{2} added, 0 changed, 0 destroyed' <<<"$output"
}

@test "a second plan finds nothing to change" {
  run in_module plan -detailed-exitcode
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "the group has its hooks from the start, a numbered template version, and the default version is untouched" {
  ask_aws '
autoscaling, ec2 = boto3.client("autoscaling"), boto3.client("ec2")
group = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]
template = group["MixedInstancesPolicy"]["LaunchTemplate"]
assert template["LaunchTemplateSpecification"]["Version"] == "1", template
assert [override["InstanceType"] for override in template["Overrides"]][0] == "c5.xlarge", template
hooks = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=group["AutoScalingGroupName"])["LifecycleHooks"]
assert {(hook["LifecycleTransition"], hook["DefaultResult"]) for hook in hooks} == {
    ("autoscaling:EC2_INSTANCE_LAUNCHING", "ABANDON"), ("autoscaling:EC2_INSTANCE_TERMINATING", "CONTINUE")}, hooks
assert ec2.describe_launch_templates()["LaunchTemplates"][0]["DefaultVersionNumber"] == 1'
}

# What a new instance does with its user data, in a root of its own: cloud-init's parts are taken apart, and the script
# runs with a systemd that is content.
run_user_data() {
  root=$BATS_FILE_TMPDIR/root
  mkdir -p "$root"/{etc,run/file-processor,var/log,bin}
  ask_aws '
user_data = boto3.client("ec2").describe_launch_template_versions(
    LaunchTemplateName="python-worker-template-v1", Versions=["$Latest"],
)["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]
import yaml
for part in email.message_from_bytes(base64.b64decode(user_data)).walk():
    if part.get_content_type() == "text/cloud-config":
        settings = yaml.safe_load(part.get_payload(decode=True))["write_files"][0]["content"]
        open(sys.argv[1] + "/run/file-processor/settings", "w").write(settings)
    if part.get_content_type() == "text/x-shellscript":
        open(sys.argv[1] + "/part-001", "wb").write(part.get_payload(decode=True))' "$root"

  coproc imds { exec python3 "$REPO_DIR/scripts/testbed/imds_stub.py" 0 3>&-; }
  read -r imds_url <&"${imds[0]}"
  curl -sf --noproxy '*' -o /dev/null -d '{"tags/instance/aws:autoscaling:groupName": "cis-filesearch-worker-asg"}' \
    "$imds_url/_control"

  printf '#!/bin/sh\n[ "$1" != is-active ] || { [ "$2" != --quiet ] && echo active; }\n' >"$root/bin/systemctl"
  cat >"$root/bin/aws" <<'AWS'
#!/bin/bash
# complete-lifecycle-action, at the local AWS.
printf '%s\n' "$*" >>"${0%/*}/aws.calls"
PYTHONPATH=$MOTO_PACKAGES exec python3 - "$@" <<'PYTHON'
import boto3, sys
assert sys.argv[1:3] == ["autoscaling", "complete-lifecycle-action"], sys.argv
given = dict(zip(sys.argv[3::2], sys.argv[4::2]))
boto3.client("autoscaling", region_name=given["--region"]).complete_lifecycle_action(
    AutoScalingGroupName=given["--auto-scaling-group-name"], LifecycleHookName=given["--lifecycle-hook-name"],
    InstanceId=given["--instance-id"], LifecycleActionResult=given["--lifecycle-action-result"])
PYTHON
AWS
  chmod +x "$root"/bin/*
  AWS_EC2_METADATA_SERVICE_ENDPOINT=$imds_url PATH=$root/bin:$PATH run bash "$root/part-001" --root "$root" --group root
  kill "$imds_PID"
  echo "$output"
  [ "$status" -eq 0 ]
}

# The worker as the service starts it: nothing but the environment file, and where the local servers are.
setup() {
  # A file's setup cannot skip its tests.
  [[ -z $unavailable ]] || skip "$unavailable"
  worker=(env -i "PATH=$PATH" "HOME=$HOME" AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true
    "AWS_ENDPOINT_URL_SQS=$MOTO_URL" "AWS_ENDPOINT_URL_S3=$MOTO_URL" STATUS_ADDRESS=
    "LOG_FILE=$BATS_FILE_TMPDIR/worker.log" "TEMP_DIR=$BATS_FILE_TMPDIR/spool"
    "$binary" --env-file "$BATS_FILE_TMPDIR/root/etc/file-processor/env")
}

teardown() {
  # The agent is a shell that waits for its program.
  [[ -z ${agent_pid:-} ]] || pkill -KILL -P "$agent_pid" || true
  local pid
  for pid in ${worker_pid:-} ${agent_pid:-}; do kill -KILL "$pid" 2>/dev/null || true; done
}

document() { curl -s --noproxy '*' "$opensearch/$index/_doc/$1"; }
document_found() { document "$1" | grep -q '"found":true'; }
document_gone() { document "$1" | grep -q '"found":false'; }

@test "user data of the template makes the environment, and reports to the group's hook" {
  run_user_data
  grep -qx 'SQS_QUEUE_URL="'"$MOTO_URL"'/123456789012/file-processing-queue"' "$root/etc/file-processor/env"
  grep -qx 'AUTO_SCALING_GROUP_NAME="cis-filesearch-worker-asg"' "$root/etc/file-processor/env"
  grep -q -- '--lifecycle-hook-name file-processor-launch .* --lifecycle-action-result CONTINUE' "$root/bin/aws.calls"
}

@test "cloud-init takes the user data apart as meant, and knows every key of its configuration" {
  local packages
  packages=$(cloud_init_packages) || skip "$packages"
  ask_aws 'sys.stdout.buffer.write(base64.b64decode(boto3.client("ec2").describe_launch_template_versions(
    LaunchTemplateName="python-worker-template-v1", Versions=["$Latest"],
)["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]))' >"$BATS_FILE_TMPDIR/user-data"
  # The system's Python: cloud-init's dependencies are Debian's.
  PYTHONPATH=$packages /usr/bin/python3 - "$BATS_FILE_TMPDIR" <<'PYTHON'
import sys
from cloudinit import user_data
from cloudinit.config.schema import get_schema, validate_cloudconfig_schema
import yaml

folder = sys.argv[1]
message = user_data.UserDataProcessor(paths=None).process(open(folder + "/user-data", "rb").read())
parts = {part.get_filename(): part for part in message.walk() if not part.is_multipart()}
assert {name: part.get_content_type() for name, part in parts.items()} == {
    "settings.yaml": "text/cloud-config", "part-001": "text/x-shellscript"}, parts
configuration = parts["settings.yaml"].get_payload(decode=True)
assert configuration.startswith(b"#cloud-config\n")
validate_cloudconfig_schema(yaml.safe_load(configuration), get_schema(), strict=True)
script = parts["part-001"].get_payload(decode=True)
# The line end before the boundary is the boundary's.
assert script.strip() == open(folder + "/root/part-001", "rb").read().strip() and script.startswith(b"#!/bin/bash\n")
PYTHON
}

@test "the worker finds everything in place with that environment" {
  "${worker[@]}" --create-index
  run "${worker[@]}" --validate-only
  echo "$output"
  [ "$status" -eq 0 ]
  refute grep -q FAILED <<<"$output"
  grep -Eq '^ok +queue .*maxReceiveCount 10' <<<"$output"
}

@test "an object put into the bucket becomes a document, a removed one is forgotten" {
  local key='documents/road/ts-server3/案件 1/報告+"1".txt' id
  id=$(python3 -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], safe=""))' "$key")
  "${worker[@]}" >"$BATS_FILE_TMPDIR/worker.out" 2>&1 3>&- &
  worker_pid=$!

  ask_aws 'boto3.client("s3").put_object(Bucket="cis-filesearch-storage", Key=sys.argv[1], Body="国道の橋梁点検".encode())' "$key"
  wait_until 60 document_found "$id" || { tail -n 30 "$BATS_FILE_TMPDIR/worker.out" && false; }
  document "$id"
  [[ $(document "$id") == *国道の橋梁点検* && $(document "$id") == *'"outcome":"indexed"'* ]]

  ask_aws 'boto3.client("s3").delete_object(Bucket="cis-filesearch-storage", Key=sys.argv[1])' "$key"
  wait_until 60 document_gone "$id" || { tail -n 30 "$BATS_FILE_TMPDIR/worker.out" && false; }

  kill -TERM "$worker_pid"
  wait "$worker_pid"
  ask_aws '
sqs = boto3.client("sqs")
for name in ("file-processing-queue", "file-processing-queue-dlq"):
    left = sqs.get_queue_attributes(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["All"])
    for kind in ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"):
        assert left["Attributes"][kind] == "0", (name, left)'
}

@test "the event of a new object has the production form in the queue" {
  ask_aws '
sqs, s3 = boto3.client("sqs"), boto3.client("s3")
key = "docuworks-converted/「引用」 \"1\".pdf"
etag = s3.put_object(Bucket="cis-filesearch-storage", Key=key, Body=b"12345")["ETag"].strip("\"")
url = sqs.get_queue_url(QueueName="file-processing-queue")["QueueUrl"]
body = json.loads(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"][0]["Body"])
time = body.pop("eventTime")
assert body == {"eventType": "S3_OBJECT_CREATED", "s3Bucket": "cis-filesearch-storage", "s3Key": key, "fileSize": 5,
                "etag": etag, "processingRequired": True}, body
assert time.endswith("Z"), time'
}

# deploy SCRIPT [OPTION...] IMAGE: as an operator does, with the real CLI.
deploy() {
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\nexec "%s" -IS "%s" ask "%s" "$@"\n' "$aws_python" "$deployment_dir/support/aws_cli.py" "$BATS_FILE_TMPDIR/cli" \
    >"$BATS_TEST_TMPDIR/bin/aws"
  chmod +x "$BATS_TEST_TMPDIR/bin/aws"
  run env "PATH=$BATS_TEST_TMPDIR/bin:$PATH" ASG_NAME=cis-filesearch-worker-asg LAUNCH_TEMPLATE_NAME=python-worker-template-v1 \
    POLL_SECONDS=1 RETRIES=1 "$REPO_DIR/scripts/$1" "${@:2}"
  echo "$output"
}

# start_worker GROUP VERSION: the worker, as if it ran on the first instance of the group at that version: once there is
# one, its log goes where the agent would put it.
start_worker() {
  : >"$BATS_FILE_TMPDIR/worker.log"
  "${worker[@]}" >"$BATS_FILE_TMPDIR/worker.out" 2>&1 3>&- &
  worker_pid=$!
  disown # nobody needs to hear of its end
  ask_aws '
import time
logs, autoscaling = boto3.client("logs"), boto3.client("autoscaling")
name, version, log = sys.argv[1:]
stream, file = None, open(log)
while True:
    time.sleep(0.3)
    if not stream:
        groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        new = [i["InstanceId"] for group in groups for i in group["Instances"] if i["LaunchTemplate"]["Version"] == version]
        if not new:
            continue
        stream = new[0]
        logs.create_log_stream(logGroupName="/aws/ec2/file-processor", logStreamName=stream)
    if lines := file.readlines():
        logs.put_log_events(logGroupName="/aws/ec2/file-processor", logStreamName=stream, logEvents=[
            {"timestamp": int(time.time() * 1000), "message": line.rstrip()} for line in lines])
' "$1" "$2" "$BATS_FILE_TMPDIR/worker.log" >"$BATS_FILE_TMPDIR/agent.out" 2>&1 3>&- &
  agent_pid=$!
  disown
}

# versions: the group's version, the template's default, and that of each instance.
versions() {
  ask_aws '
group = boto3.client("autoscaling").describe_auto_scaling_groups(
    AutoScalingGroupNames=["cis-filesearch-worker-asg"])["AutoScalingGroups"][0]
print(group["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"]["Version"],
      boto3.client("ec2").describe_launch_templates()["LaunchTemplates"][0]["DefaultVersionNumber"],
      ",".join(instance["LaunchTemplate"]["Version"] for instance in group["Instances"]))'
}

@test "deploy-new-ami.sh puts an image on the group, and an instance that has it passes the smoke test" {
  [[ -n $cli_pid ]] || skip "$aws_python"
  local next_image
  next_image=$(make_image 2)
  echo "$next_image" >"$BATS_FILE_TMPDIR/deployed"
  [ "$(versions)" = '1 1 1,1' ]
  start_worker cis-filesearch-worker-asg 2
  deploy deploy-new-ami.sh "$next_image"
  [ "$status" -eq 0 ]
  [[ $output == *"alarms that roll it back: file-processor-refresh-guard"* ]]
  [[ $output == *"smoke test passed on i-"*"version 2 is now the default"* ]]
  [ "$(versions)" = '2 2 2,2' ]
}

@test "after it Terraform has nothing to change with the new image, and warns with the old one" {
  [[ -s $BATS_FILE_TMPDIR/deployed ]] || skip 'nothing was deployed'
  use_image=$(<"$BATS_FILE_TMPDIR/deployed") run in_module plan
  echo "$output"
  # Outputs name the version.
  [[ $output == *"without changing any real infrastructure"* && $output != *"Plan: "* ]]
  run in_module plan -detailed-exitcode
  [ "$status" -eq 2 ]
  [[ $output == *"is newer than ami_id"* ]]
}

@test "an image that AWS rolls back leaves group and default as they were" {
  [[ -n $cli_pid ]] || skip "$aws_python"
  local before
  before=$(versions)
  tag_refresh 'boto3.client("autoscaling").create_or_update_tags(Tags=[tag])'
  deploy deploy-new-ami.sh "$(make_image 3)"
  tag_refresh 'boto3.client("autoscaling").delete_tags(Tags=[tag])'
  [ "$status" -eq 3 ]
  [ "$(versions)" = "$before" ]
}

# tag_refresh PYTHON: how the group's next refresh will go.
tag_refresh() {
  ask_aws 'tag = dict(ResourceId="cis-filesearch-worker-asg", ResourceType="auto-scaling-group", Key="test:refresh",
           Value="Pending InProgress RollbackInProgress RollbackSuccessful", PropagateAtLaunch=False)'$'\n'"$1"
}

@test "another image is a new version and an instance refresh that can roll back; a hook changes in place" {
  local before latest
  before=$(versions)
  use_image=$(make_image 4) run in_module apply -auto-approve -var termination_hook_seconds=180
  echo "$output"
  [ "$status" -eq 0 ]
  grep -q 'Resources: 0 added, 3 changed, 0 destroyed' <<<"$output"
  latest=$(ask_aws 'print(boto3.client("ec2").describe_launch_templates()["LaunchTemplates"][0]["LatestVersionNumber"])')
  ask_aws '
autoscaling, ec2 = boto3.client("autoscaling"), boto3.client("ec2")
refresh = autoscaling.describe_instance_refreshes(AutoScalingGroupName="cis-filesearch-worker-asg")["InstanceRefreshes"][0]
assert refresh["Preferences"]["AutoRollback"] and refresh["Preferences"]["MinHealthyPercentage"] == 100, refresh
assert refresh["Preferences"]["AlarmSpecification"]["Alarms"] == ["file-processor-refresh-guard"], refresh
desired = refresh["DesiredConfiguration"]["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"]
assert desired["Version"] == sys.argv[1], refresh
hooks = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName="cis-filesearch-worker-asg")["LifecycleHooks"]
assert {hook["HeartbeatTimeout"] for hook in hooks} == {900, 180}, hooks
template = ec2.describe_launch_templates()["LaunchTemplates"][0]
assert (template["LatestVersionNumber"], template["DefaultVersionNumber"]) == tuple(map(int, sys.argv[1:])), template' \
    "$latest" "$(cut -d' ' -f2 <<<"$before")"
}

@test "what operators stop in an emergency stays stopped: an apply would change nothing" {
  use_image=$(newest_image) in_module apply -auto-approve
  ask_aws '
autoscaling, name = boto3.client("autoscaling"), "cis-filesearch-worker-asg"
autoscaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["ScheduledActions", "AlarmNotification"])
autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=0, DesiredCapacity=0)'
  use_image=$(newest_image) run in_module plan -detailed-exitcode
  ask_aws '
autoscaling, name = boto3.client("autoscaling"), "cis-filesearch-worker-asg"
autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, MinSize=1, DesiredCapacity=2)
autoscaling.resume_processes(AutoScalingGroupName=name)'
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "blue-green-deploy.sh makes the other colour of the group, proves it by the worker, and drains the first" {
  [[ -n $cli_pid ]] || skip "$aws_python"
  local version new_image
  # The refresh that Terraform began has to be over; each look brings it on.
  ask_aws '
refreshes = boto3.client("autoscaling").describe_instance_refreshes
while any(refresh["Status"] not in ("Successful", "RollbackSuccessful")
          for refresh in refreshes(AutoScalingGroupName="cis-filesearch-worker-asg")["InstanceRefreshes"]):
    pass'
  version=$(($(ask_aws 'print(boto3.client("ec2").describe_launch_templates()["LaunchTemplates"][0]["LatestVersionNumber"])') + 1))
  new_image=$(make_image 6)
  start_worker cis-filesearch-worker-asg-green "$version"
  deploy blue-green-deploy.sh "$new_image"
  [ "$status" -eq 0 ]
  ask_aws '
autoscaling = boto3.client("autoscaling")
blue, green = sorted(autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"], key=lambda group: group["AutoScalingGroupName"])
assert green["AutoScalingGroupName"] == "cis-filesearch-worker-asg-green", green
assert (len(blue["Instances"]), blue["MinSize"], blue["MaxSize"]) == (0, 0, 10), blue
assert [i["LaunchTemplate"]["Version"] for i in green["Instances"]] == [sys.argv[1]] * 2, green
assert (green["MinSize"], green["MaxSize"], green["VPCZoneIdentifier"]) == (1, 10, blue["VPCZoneIdentifier"]), green
active = {group["AutoScalingGroupName"]: {t["Key"]: t["Value"] for t in group["Tags"]}["Active"] for group in (blue, green)}
assert list(active.values()) == ["false", "true"], active
# Of policies and schedules moto knows one for each name: those of the first group have become those of the second.
policies = {p["PolicyName"]: p for p in autoscaling.describe_policies(AutoScalingGroupName=green["AutoScalingGroupName"])["ScalingPolicies"]}
assert sorted(policies) == ["file-processor-backlog-per-instance", "file-processor-emergency-scale-out"], policies
assert green["AutoScalingGroupName"] in json.dumps(policies["file-processor-backlog-per-instance"]["TargetTrackingConfiguration"]), policies
schedules = autoscaling.describe_scheduled_actions(AutoScalingGroupName=green["AutoScalingGroupName"])["ScheduledUpdateGroupActions"]
assert {(s["ScheduledActionName"], s["TimeZone"]) for s in schedules} == {
    ("scale-up-morning", "Asia/Tokyo"), ("scale-down-evening", "Asia/Tokyo")}, schedules
assert {p["ProcessName"] for p in blue["SuspendedProcesses"]} == {"AlarmNotification", "ScheduledActions"}, blue' "$version"
  ask_aws 'boto3.client("autoscaling").delete_auto_scaling_group(AutoScalingGroupName="cis-filesearch-worker-asg-green", ForceDelete=True)'
}

@test "destroy leaves nothing but the source bucket" {
  run in_module destroy -auto-approve -refresh=false
  echo "$output"
  [ "$status" -eq 0 ]
  ask_aws '
assert not boto3.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
assert "QueueUrls" not in boto3.client("sqs").list_queues()
assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["cis-filesearch-storage"]'
}
