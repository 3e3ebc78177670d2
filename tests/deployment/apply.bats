#!/usr/bin/env bats
# The module applied for real against the local AWS (tests/deployment/moto), and the worker run on what it made: with the
# environment that user data writes, on objects that come by the bucket's own events. The tests build on each other.
#
# Two minutes, most of which are the provider's own waits for queues.

load support/cloud-tools

setup_file() {
  local said
  unavailable=''
  module=$(prepare_module "$BATS_FILE_TMPDIR/module") || unavailable=$module
  binary=$(worker_binary) || unavailable=$binary
  said=$(moto_packages) || unavailable=$said
  export module binary unavailable
  [[ -z $unavailable ]] || return 0
  start_moto "$BATS_FILE_TMPDIR/moto.log"

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
images = [image["ImageId"] for image in ec2.describe_images()["Images"]]
print(ec2.describe_vpcs()["Vpcs"][0]["VpcId"], ec2.describe_subnets()["Subnets"][0]["SubnetId"], *images[:2])')
  read -r vpc subnet image next_image <<<"$said"
  export image next_image
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
worker_environment                = { OCR_LANGUAGE = "jpn+eng", MAX_WORKERS = "1", SQS_WAIT_TIME = "1" }
TFVARS
}

teardown_file() {
  [[ -z ${MOTO_PID:-} ]] || kill "$MOTO_PID" || true
  [[ -n ${opensearch:-} ]] || return 0
  curl -s --noproxy '*' -o /dev/null -X DELETE "$opensearch/$index" || true
  [[ -n ${opensearch_was_up:-} || -n ${TESTBED_OPENSEARCH_ENDPOINT:-} ]] ||
    "$REPO_DIR/scripts/testbed/stop-opensearch.sh"
}

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

teardown() { [[ -z ${worker_pid:-} ]] || kill -KILL "$worker_pid" 2>/dev/null || true; }

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

@test "another image is a new version and an instance refresh that can roll back; a hook changes in place" {
  use_image=$next_image run in_module apply -auto-approve -refresh=false -var termination_hook_seconds=180
  echo "$output"
  [ "$status" -eq 0 ]
  grep -q 'Resources: 0 added, 3 changed, 0 destroyed' <<<"$output"
  ask_aws '
autoscaling, ec2 = boto3.client("autoscaling"), boto3.client("ec2")
refresh = autoscaling.describe_instance_refreshes(AutoScalingGroupName="cis-filesearch-worker-asg")["InstanceRefreshes"][0]
assert refresh["Preferences"]["AutoRollback"] and refresh["Preferences"]["MinHealthyPercentage"] == 100, refresh
assert refresh["Preferences"]["AlarmSpecification"]["Alarms"] == ["file-processor-refresh-guard"], refresh
desired = refresh["DesiredConfiguration"]["MixedInstancesPolicy"]["LaunchTemplate"]["LaunchTemplateSpecification"]
assert desired["Version"] == "2", refresh
hooks = autoscaling.describe_lifecycle_hooks(AutoScalingGroupName="cis-filesearch-worker-asg")["LifecycleHooks"]
assert {hook["HeartbeatTimeout"] for hook in hooks} == {900, 180}, hooks
template = ec2.describe_launch_templates()["LaunchTemplates"][0]
assert (template["LatestVersionNumber"], template["DefaultVersionNumber"]) == (2, 1), template'
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
