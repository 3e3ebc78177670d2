#!/usr/bin/env bats
# deploy-new-ami.sh against a scripted AWS: every way in which an instance refresh can end, and what AWS does meanwhile.

load support/scripted-aws
load support/deploy-tools

old_ami=ami-0000000000000001
new_ami=ami-0000000000000002
user_data='#!/bin/bash
SQS_QUEUE_URL="https://sqs.ap-northeast-1.amazonaws.com/123456789012/ingest"'

# group VERSION [INSTANCE_VERSION]...: the worker group; an instance i-0…N for each version given.
group() {
  jq -nc --arg version "$1" '{AutoScalingGroups: [{AutoScalingGroupName: "workers", DesiredCapacity: 2, MinSize: 1, MaxSize: 10,
    LaunchTemplate: {LaunchTemplateId: "lt-1", LaunchTemplateName: "template", Version: $version}, Tags: [],
    Instances: [$ARGS.positional | to_entries[] | {InstanceId: "i-0000000\(.key)", LifecycleState: "InService",
      HealthStatus: "Healthy", LaunchTemplate: {LaunchTemplateId: "lt-1", Version: .value}}]}]}' --args "${@:2}"
}

# template_version NUMBER AMI [DESCRIPTION]
template_version() {
  jq -nc --argjson number "$1" --arg ami "$2" --arg description "${3:-}" --arg data "$(base64 -w0 <<<"$user_data")" \
    '{LaunchTemplateVersions: [{LaunchTemplateId: "lt-1", VersionNumber: $number, VersionDescription: $description,
      LaunchTemplateData: {ImageId: $ami, UserData: $data}}]}'
}

# refresh STATUS [VERSION]
refresh() {
  printf '%s' '{"InstanceRefreshes": [{"InstanceRefreshId": "r-1", "StartTime": "2026-01-01T00:00:00Z", "PercentageComplete": 0,' \
    " \"Status\": \"$1\", \"InstancesToUpdate\": 2," \
    " \"DesiredConfiguration\": {\"LaunchTemplate\": {\"LaunchTemplateId\": \"lt-1\", \"Version\": \"${2:-4}\"}}}]}"
}

# refreshes STATUS...: what the watched refresh goes through.
refreshes() {
  local status
  for status in "$@"; do answer autoscaling.describe-instance-refreshes@--instance-refresh-ids "$(refresh "$status")"; done
}

# smoke_line STREAM [WORD]
smoke_line() {
  jq -nc --arg stream "$1" --arg word "${2:-passed}" '{events: [{logStreamName: $stream,
    message: ("{\"level\":\"INFO\",\"message\":\"smoke test " + $word + " id={{smoke_id}}\"}")}]}'
}

# The scenario that every test begins with, made once.
setup_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR use_scripted_aws
  always sts.get-caller-identity '{"Account": "123456789012", "Arn": "arn:aws:sts::123456789012:assumed-role/operator/me"}'
  always ec2.describe-images "{\"Images\": [{\"ImageId\": \"$new_ami\", \"State\": \"available\", \"Name\": \"file-processor-worker-v20260101-000000\", \"Architecture\": \"x86_64\"}]}"
  # One old instance, one new.
  always autoscaling.describe-auto-scaling-groups "$(group 3 3 4)"
  always ec2.describe-launch-template-versions "$(template_version 3 "$old_ami")"
  always ec2.describe-launch-template-versions@'--versions 4' "$(template_version 4 "$new_ami" "$new_ami replaces $old_ami (version 3)")"
  always ec2.create-launch-template-version '{"LaunchTemplateVersion": {"VersionNumber": 4}}'
  always autoscaling.describe-instance-refreshes@--max-records '{"InstanceRefreshes": []}'
  always autoscaling.start-instance-refresh '{"InstanceRefreshId": "r-1"}'
  always sqs.send-message '{"MessageId": "m"}'
  always logs.filter-log-events "$(smoke_line i-00000001)"
  always ec2.modify-launch-template '{}'
  always sqs.get-queue-attributes '{"Attributes": {"RedrivePolicy": "{\"deadLetterTargetArn\":\"arn:aws:sqs:ap-northeast-1:1:ingest-dlq\",\"maxReceiveCount\":5}"}}'
  always cloudwatch.describe-alarms-for-metric '{"MetricAlarms": [{"AlarmName": "refresh-guard"}]}'
  always cloudwatch.describe-alarms '{"MetricAlarms": [{"AlarmName": "refresh-guard", "StateValue": "OK"}]}'
  # For the last lines of a failure.
  always autoscaling.describe-scaling-activities '{"Activities": []}'
  always logs.describe-log-streams '{"logStreams": [{"logStreamName": "i-00000001"}]}'
  always logs.get-log-events '{"events": [{"message": "could not open the index\n"}]}'
}

setup() {
  use_scripted_aws
  cp "$BATS_FILE_TMPDIR"/scenario/* "$AWS_SCENARIO"
  export ASG_NAME=workers LAUNCH_TEMPLATE_NAME=template SMOKE_TEST_TIMEOUT=60
}

teardown() { no_unexpected_call; }

deploy() { run "$scripts/deploy-new-ami.sh" "$@"; }

@test "success: version N from the current one, refresh to N, smoke test, and only then the default" {
  refreshes Pending InProgress InProgress Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  called 'create-launch-template-version --launch-template-id lt-1 --source-version 3 .*'"$new_ami"
  called 'start-instance-refresh --auto-scaling-group-name workers .*Version.*4.*"?AutoRollback'
  [ "$(changes | tail -n 1 | cut -d' ' -f 1-7)" = "ec2 modify-launch-template --launch-template-id lt-1 --default-version 4 --output" ]
  # The message is sent after all instances are new.
  [ "$(grep -n send-message "$AWS_CALLS" | cut -d: -f1)" -gt "$(grep -n start-instance-refresh "$AWS_CALLS" | cut -d: -f1)" ]
  [[ $output == *"smoke test passed on i-00000001"* ]]
  [[ $output == *"scripts/deploy-new-ami.sh $old_ami"* ]]
}

@test "the preferences launch before they terminate, roll back, and name the alarms" {
  refreshes Baking Successful
  always cloudwatch.describe-alarms '{"MetricAlarms": [{"AlarmName": "no-progress", "StateValue": "OK"}], "CompositeAlarms": [{"AlarmName": "unhealthy", "StateValue": "INSUFFICIENT_DATA"}]}'
  ROLLBACK_ALARMS='no-progress unhealthy' deploy --bake 120 "$new_ami"
  [ "$status" -eq 0 ]
  eval "set -- $(grep start-instance-refresh "$AWS_CALLS")"
  while [ "$1" != --preferences ]; do shift; done
  jq -e '.MinHealthyPercentage == 100 and .MaxHealthyPercentage == 200 and .AutoRollback and .BakeTime == 120
    and .AlarmSpecification.Alarms == ["no-progress", "unhealthy"]' <<<"$2"
}

@test "without ROLLBACK_ALARMS it is the alarms on the dead-letter queue, unless none is wanted" {
  refreshes Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  called 'describe-alarms-for-metric .*Value=ingest-dlq'
  called 'start-instance-refresh .*refresh-guard'
  refreshes Baking Successful
  : >"$AWS_CALLS"
  deploy --without-alarms "$new_ami"
  [ "$status" -eq 0 ]
  not_called refresh-guard
}

@test "the queue is found in user data of several parts, one encoded" {
  user_data="Content-Type: multipart/mixed; boundary=\"=x==\"

--=x==
Content-Type: text/cloud-config
Content-Transfer-Encoding: base64

$(printf '#cloud-config\nwrite_files:\n- content: |\n    AWS_REGION=ap-northeast-1\n    SQS_QUEUE_URL=https://sqs.example/1/encoded\n' | base64 -w0)
--=x==
Content-Type: text/x-shellscript

#!/bin/bash
--=x==--"
  always ec2.describe-launch-template-versions "$(template_version 3 "$old_ami")"
  refreshes Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  called 'send-message --queue-url https://sqs.example/1/encoded '
  user_data='nothing of the kind'
  always ec2.describe-launch-template-versions "$(template_version 3 "$old_ami")"
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"export SQS_QUEUE_URL"* ]]
}

@test "an alarm that rings already, or is not there, stops the deployment before anything changed" {
  always cloudwatch.describe-alarms '{"MetricAlarms": [{"AlarmName": "no-progress", "StateValue": "ALARM"}]}'
  ROLLBACK_ALARMS=no-progress deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"no-progress rings already"* ]]
  ROLLBACK_ALARMS=nameless deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"there is no alarm nameless"* ]]
  [ -z "$(changes | grep -v get-caller)" ]
}

@test "a slow refresh is watched as long as it takes" {
  # shellcheck disable=SC2046
  refreshes Pending $(yes InProgress | head -n 20) Baking Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  # What stays the same is not said again each time.
  [ "$(grep -c 'InProgress, ' <<<"$output")" -le 2 ]
}

@test "a refresh that never ends: the time is over, the refresh goes on, the same command watches again" {
  always autoscaling.describe-instance-refreshes@--instance-refresh-ids "$(refresh InProgress)"
  deploy --timeout 0 "$new_ami"
  [ "$status" -eq 5 ]
  [[ $output == *"the same command watches it again"* ]]
  not_called modify-launch-template
}

@test "rolled back: exit 3, the last lines of the new instances, the default unchanged" {
  refreshes Pending InProgress RollbackInProgress RollbackInProgress RollbackSuccessful
  deploy "$new_ami"
  [ "$status" -eq 3 ]
  [[ $output == *"could not open the index"* ]]
  [[ $output == *"runs $old_ami as before"* ]]
  [[ $output != *"does not know"* ]]
  not_called modify-launch-template
}

@test "a state that AWS adds some day is said and watched" {
  refreshes InProgress Sideways Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  [[ $output == *"Sideways is a state this script does not know"* ]]
}

@test "failed, cancelled, roll back failed: exit 4 and the way back" {
  local end
  for end in Failed RollbackFailed Cancelled; do
    refreshes InProgress Cancelling "$end"
    deploy "$new_ami"
    [ "$status" -eq 4 ]
    [[ $output == *"ended as $end"* ]]
    [[ $output == *"LAUNCH_TEMPLATE_NAME=template"*"$old_ami"* ]]
  done
  not_called modify-launch-template
}

@test "launches that failed are shown with AWS's reason" {
  refreshes InProgress Failed
  always autoscaling.describe-scaling-activities '{"Activities": [{"StatusCode": "Failed", "StartTime": "2999-01-01T00:00:00Z", "Description": "Launching a new EC2 instance", "StatusMessage": "We currently do not have sufficient c5.xlarge capacity"}]}'
  deploy "$new_ami"
  [ "$status" -eq 4 ]
  [[ $output == *"sufficient c5.xlarge capacity"* ]]
}

@test "no new instance passes the smoke test while baking: rolled back" {
  refreshes InProgress Baking RollbackInProgress RollbackSuccessful
  always logs.filter-log-events '{"events": []}'
  always autoscaling.rollback-instance-refresh '{"InstanceRefreshId": "r-1"}'
  SMOKE_TEST_TIMEOUT=1 deploy "$new_ami"
  [ "$status" -eq 3 ]
  called rollback-instance-refresh
  not_called modify-launch-template
}

@test "the refresh succeeded without baking and no new instance passes: exit 6, the default unchanged" {
  refreshes Successful
  always logs.filter-log-events '{"events": []}'
  SMOKE_TEST_TIMEOUT=1 deploy "$new_ami"
  [ "$status" -eq 6 ]
  not_called modify-launch-template
  [[ $output == *"back to $old_ami by hand"* ]]
}

@test "too late to roll back: the smoke test is not repeated, exit 6" {
  refreshes Baking Successful
  always logs.filter-log-events '{"events": []}'
  always autoscaling.rollback-instance-refresh 'ERR:ActiveInstanceRefreshNotFound:none'
  SMOKE_TEST_TIMEOUT=1 deploy "$new_ami"
  [ "$status" -eq 6 ]
  [ "$(grep -c 'waiting up to' <<<"$output")" -eq 1 ]
}

@test "an old instance's answer is not enough: another message is sent until a new one answers" {
  refreshes Baking Successful
  answer logs.filter-log-events "$(smoke_line i-00000000)" "$(smoke_line i-00000000-worker)" "$(smoke_line i-00000001)"
  sed -i 1d "$AWS_SCENARIO/logs.filter-log-events"
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  [ "$(count_calls send-message)" -eq 3 ]
  [[ $output == *"answered by i-00000000, which is not new"* ]]
}

@test "another run's smoke test, or one that failed, does not count" {
  refreshes Baking Successful
  local stranger='{"events": [{"logStreamName": "i-00000001", "message": "smoke test passed id=smoke-other"}, {"logStreamName": "i-00000001", "message": "smoke test passed id={{smoke_id}}9"}]}'
  printf '%s\n' "$stranger" "$(smoke_line i-00000001 failed)" "$(smoke_line i-00000001)" >"$AWS_SCENARIO/logs.filter-log-events"
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  [ "$(count_calls filter-log-events)" -eq 3 ]
  [[ $output == *"failed on i-00000001"* ]]
}

@test "throttled calls are tried again" {
  refreshes InProgress
  answer autoscaling.describe-instance-refreshes@--instance-refresh-ids 'ERR:Throttling:slow' 'ERR:TooManyRequestsException:slow'
  refreshes Baking Successful
  printf '%s\n' 'ERR:RequestLimitExceeded:Request limit exceeded.' 'always {"LaunchTemplateVersion": {"VersionNumber": 4}}' >"$AWS_SCENARIO/ec2.create-launch-template-version"
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  [ "$(count_calls create-launch-template-version)" -eq 2 ]
}

@test "throttled for ever: it ends with AWS's sentence and how to go on" {
  always autoscaling.describe-instance-refreshes@--instance-refresh-ids 'ERR:Throttling:Rate exceeded'
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"Rate exceeded"* ]]
  [[ $output == *"the same command watches it again"* ]]
}

@test "expired credentials: one clear sentence, at the start and in the middle" {
  always sts.get-caller-identity 'ERR:ExpiredToken:The security token included in the request is expired'
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"does not accept the credentials (missing or expired): log in again"* ]]
  [ "$(wc -l <"$AWS_CALLS")" -eq 1 ]

  always sts.get-caller-identity '{"Account": "1", "Arn": "arn:aws:iam::1:user/me"}'
  refreshes InProgress
  answer autoscaling.describe-instance-refreshes@--instance-refresh-ids 'ERR:ExpiredTokenException:expired'
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"log in again"*"The refresh goes on without this script"* ]]
}

@test "a lost terminal: the same command finds the refresh of this image and goes on" {
  always autoscaling.describe-instance-refreshes@--max-records "$(refresh InProgress 4)"
  refreshes InProgress Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  not_called start-instance-refresh
  not_called create-launch-template-version
  called 'modify-launch-template .*--default-version 4'
  [[ $output == *"back to $old_ami by hand"* ]]
}

@test "a terminal lost after the refresh succeeded: what is left is done" {
  always autoscaling.describe-auto-scaling-groups "$(group 4 4 4)"
  always ec2.describe-launch-template-versions "$(template_version 4 "$new_ami" "$new_ami replaces $old_ami (version 3)")"
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  not_called start-instance-refresh
  called 'modify-launch-template .*--default-version 4'
  [[ $output == *"back to $old_ami by hand"* ]]
}

@test "a version that Terraform made after a deployment is not taken for that deployment's" {
  always autoscaling.describe-auto-scaling-groups "$(group 4 4 4)"
  always ec2.describe-launch-template-versions "$(template_version 4 "$new_ami" "$old_ami replaces ami-00000000000000000 (version 2)")"
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  [[ $output != *ami-00000000000000000* ]]
}

@test "a terminal lost after the version was made: the version is used again" {
  refreshes Baking Successful
  always ec2.describe-launch-template-versions@'lt-1 --output' "$(template_version 4 "$new_ami" "$new_ami replaces $old_ami (version 3)")"
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  not_called create-launch-template-version
  called 'modify-launch-template .*--default-version 4'
}

@test "another image's refresh is in the way: said with its id, nothing changed" {
  always autoscaling.describe-instance-refreshes@--max-records "$(refresh InProgress 3)"
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"another refresh of workers is under way (r-1, InProgress, version 3, $old_ami)"* ]]
  [ -z "$(changes | grep -v get-caller)" ]
}

@test "old instances of the same image's group are replaced" {
  always autoscaling.describe-auto-scaling-groups "$(group 4 3 4)"
  always ec2.describe-launch-template-versions "$(template_version 4 "$new_ami" "$new_ami replaces $old_ami (version 3)")"
  refreshes Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  not_called create-launch-template-version
  called start-instance-refresh
}

@test "a group on \$Latest is pinned to that number before a newer version exists" {
  always autoscaling.describe-auto-scaling-groups "$(group '$Latest' 3 4)"
  always autoscaling.update-auto-scaling-group '{}'
  refreshes Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  [ "$(changes | grep -v get-caller | cut -d' ' -f2 | head -n 2 | paste -sd' ')" = "update-auto-scaling-group create-launch-template-version" ]
  called 'update-auto-scaling-group .*Version[^0-9]*3'
}

@test "a mixed group keeps its policy, only the version changes" {
  always autoscaling.describe-auto-scaling-groups "$(group 3 3 4 | jq -c '.AutoScalingGroups[0] |= (.MixedInstancesPolicy = {
    LaunchTemplate: {LaunchTemplateSpecification: .LaunchTemplate, Overrides: [{InstanceType: "c5.xlarge"}, {InstanceType: "c6i.xlarge"}]},
    InstancesDistribution: {OnDemandBaseCapacity: 1}} | del(.LaunchTemplate))')"
  refreshes Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  eval "set -- $(grep start-instance-refresh "$AWS_CALLS")"
  while [ "$1" != --desired-configuration ]; do shift; done
  jq -e '.MixedInstancesPolicy | .LaunchTemplate.LaunchTemplateSpecification == {LaunchTemplateId: "lt-1", Version: "4"}
    and (.LaunchTemplate.Overrides | length) == 2 and .InstancesDistribution.OnDemandBaseCapacity == 1' <<<"$2"
}

@test "dry run: everything read, nothing changed, every change said" {
  deploy --dry-run "$new_ami"
  [ "$status" -eq 0 ]
  [ -z "$(changes | grep -v get-caller)" ]
  [[ $output == *"would run: aws ec2 create-launch-template-version"*"would run: aws autoscaling start-instance-refresh"* ]]
}

@test "what a program reads is one object on standard output" {
  refreshes Baking Successful
  "$scripts/deploy-new-ami.sh" --json "$new_ami" >"$BATS_TEST_TMPDIR/result"
  jq -e --arg old "$old_ami" '.exit_code == 0 and .version == "4" and .previous_ami == $old and .smoke_test.passed
    and .smoke_test.instance == "i-00000001"' "$BATS_TEST_TMPDIR/result"
}

@test "after a blue/green deployment the active colour is deployed to" {
  always autoscaling.describe-auto-scaling-groups "$(group 3 | jq -c '.AutoScalingGroups[0].Tags = [{Key: "Active", Value: "false"}]')"
  always autoscaling.describe-auto-scaling-groups@workers-green "$(group 3 3 4 | jq -c '.AutoScalingGroups[0].AutoScalingGroupName = "workers-green"')"
  refreshes Baking Successful
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  called 'start-instance-refresh --auto-scaling-group-name workers-green '
}

@test "the smoke test alone: passes, or fails with the last lines" {
  always autoscaling.describe-auto-scaling-groups "$(group 3 3 3)"
  deploy --smoke-test
  [ "$status" -eq 0 ]
  always logs.filter-log-events '{"events": []}'
  deploy --smoke-timeout 5 --smoke-test
  [ "$status" -eq 6 ]
  [[ $output == *"could not open the index"* ]]
  [ "$(changes | grep -v get-caller | cut -d' ' -f1-2 | sort -u)" = "sqs send-message" ]
}

@test "what cannot be deployed is refused before anything changed" {
  always ec2.describe-images 'ERR:InvalidAMIID.NotFound:not there'
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"there is no image $new_ami"* ]]
  always ec2.describe-images '{"Images": [{"State": "pending", "Name": "x"}]}'
  deploy "$new_ami"
  [[ $output == *"is pending, not available"* ]]
  always ec2.describe-images '{"Images": [{"State": "available", "Name": "x"}]}'
  LAUNCH_TEMPLATE_NAME=other deploy "$new_ami"
  [[ $output == *"uses template: correct one of them"* ]]
  always autoscaling.describe-auto-scaling-groups '{"AutoScalingGroups": []}'
  deploy "$new_ami"
  [[ $output == *"there is no Auto Scaling group workers"* ]]
  [ -z "$(changes | grep -v get-caller)" ]
}

@test "wrong usage is exit 2" {
  deploy
  [ "$status" -eq 2 ]
  deploy "$new_ami" "$old_ami"
  [ "$status" -eq 2 ]
  deploy not-an-image
  [ "$status" -eq 2 ]
  deploy --timeout
  [ "$status" -eq 2 ]
  unset ASG_NAME
  deploy "$new_ami"
  [ "$status" -eq 2 ]
  [[ $output == *"export ASG_NAME"* ]]
}

@test "every script's manual says what its exit codes mean" {
  local script
  for script in deploy-new-ami blue-green-deploy build-ami ami-cleanup prune-amis; do
    run "$scripts/$script.sh" --help
    [ "$status" -eq 0 ]
    [[ $output == *"Exit codes"* ]]
  done
  [ ! -s "$AWS_CALLS" ]
}

@test "the real CLI takes every call that these tests saw" {
  real_cli_takes_every_call
}
