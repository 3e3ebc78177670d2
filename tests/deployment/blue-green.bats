#!/usr/bin/env bats
# blue-green-deploy.sh against a scripted AWS: the new group proves itself before the old one drains, or is drained itself.

load support/scripted-aws
load support/deploy-tools

old_ami=ami-0000000000000001
new_ami=ami-0000000000000002

# group NAME VERSION DESIRED ACTIVE [INSTANCE:STATE]...
group() {
  jq -nc --arg name "$1" --arg version "$2" --argjson desired "$3" --arg active "$4" '{AutoScalingGroups: [{AutoScalingGroupName: $name,
    LaunchTemplate: {LaunchTemplateId: "lt-1", LaunchTemplateName: "template", Version: $version},
    MinSize: 1, MaxSize: 10, DesiredCapacity: $desired, DefaultCooldown: 300, HealthCheckType: "EC2", HealthCheckGracePeriod: 300,
    VPCZoneIdentifier: "subnet-1,subnet-2", TerminationPolicies: ["Default"], CapacityRebalance: true, DefaultInstanceWarmup: 60,
    ServiceLinkedRoleARN: "", EnabledMetrics: [{Metric: "GroupInServiceInstances", Granularity: "1Minute"}],
    Tags: ([{Key: "Application", Value: "file-processor", PropagateAtLaunch: true, ResourceType: "auto-scaling-group"},
            {Key: "aws:cloudformation:stack-id", Value: "x"}]
      + if $active == "" then [] else [{Key: "Active", Value: $active}] end),
    Instances: [$ARGS.positional[] | split("=") | {InstanceId: .[0], LifecycleState: .[1], HealthStatus: "Healthy",
      LaunchTemplate: {LaunchTemplateId: "lt-1", Version: $version}}]}]}' --args "${@:5}"
}

# groups NAME ANSWER...: what describing that group answers, in order; the last one stays.
groups() {
  local file=$AWS_SCENARIO/autoscaling.describe-auto-scaling-groups@"$1 --output"
  printf '%s\n' "${@:2}" | sed '$s/^/always /' >"$file"
}

template_version() {
  jq -nc --argjson number "$1" --arg ami "$2" --arg description "${3:-}" \
    '{LaunchTemplateVersions: [{VersionNumber: $number, VersionDescription: $description, LaunchTemplateData: {ImageId: $ami}}]}'
}

# The scenario that every test begins with, made once.
setup_file() {
  BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR use_scripted_aws
  always sts.get-caller-identity '{"Account": "1", "Arn": "arn:aws:iam::1:user/me"}'
  always ec2.describe-images '{"Images": [{"State": "available", "Name": "new"}]}'
  always ec2.describe-launch-template-versions "$(template_version 3 "$old_ami")"
  always ec2.describe-launch-template-versions@'--versions 4' "$(template_version 4 "$new_ami" "$new_ami replaces $old_ami (version 3)")"
  always ec2.create-launch-template-version '{"LaunchTemplateVersion": {"VersionNumber": 4}}'
  always autoscaling.describe-instance-refreshes '{"InstanceRefreshes": []}'
  always autoscaling.describe-lifecycle-hooks '{"LifecycleHooks": [
    {"LifecycleHookName": "ready", "AutoScalingGroupName": "workers", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING", "HeartbeatTimeout": 600, "GlobalTimeout": 60000, "DefaultResult": "ABANDON"},
    {"LifecycleHookName": "drain", "AutoScalingGroupName": "workers", "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "HeartbeatTimeout": 300, "GlobalTimeout": 30000, "DefaultResult": "CONTINUE"}]}'
  sed -i ':a;N;$!ba;s/\n */ /g' "$AWS_SCENARIO/autoscaling.describe-lifecycle-hooks"
  always autoscaling.describe-policies '{"ScalingPolicies": [{"PolicyName": "backlog", "PolicyARN": "arn:old-backlog", "PolicyType": "TargetTrackingScaling", "Alarms": [{"AlarmName": "TargetTracking-x"}], "TargetTrackingConfiguration": {"TargetValue": 60, "CustomizedMetricSpecification": {"Metrics": [{"Id": "n", "MetricStat": {"Stat": "Average", "Metric": {"Namespace": "AWS/AutoScaling", "MetricName": "GroupInServiceInstances", "Dimensions": [{"Name": "AutoScalingGroupName", "Value": "workers"}]}}}]}}}, {"PolicyName": "emergency", "PolicyARN": "arn:old-emergency", "PolicyType": "StepScaling", "AdjustmentType": "PercentChangeInCapacity", "MinAdjustmentMagnitude": 1, "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 50}], "Alarms": [{"AlarmName": "queue-deep"}]}]}'
  always cloudwatch.describe-alarms '{"MetricAlarms": [{"AlarmName": "queue-deep", "AlarmArn": "arn:alarm", "StateValue": "OK", "AlarmActions": ["arn:old-emergency", "arn:aws:sns:t"], "MetricName": "ApproximateNumberOfMessagesVisible", "Namespace": "AWS/SQS", "Dimensions": [{"Name": "QueueName", "Value": "ingest"}], "Period": 60, "Statistic": "Average", "EvaluationPeriods": 1, "Threshold": 500, "ComparisonOperator": "GreaterThanThreshold"}, {"AlarmName": "unhealthy", "StateValue": "OK", "AlarmActions": ["arn:aws:sns:t"], "Metrics": [{"Id": "m", "MetricStat": {"Stat": "Maximum", "Period": 60, "Metric": {"Namespace": "AWS/AutoScaling", "MetricName": "GroupInServiceInstances", "Dimensions": [{"Name": "AutoScalingGroupName", "Value": "workers"}]}}}]}, {"AlarmName": "TargetTracking-x", "AlarmActions": ["arn:old-backlog"]}, {"AlarmName": "somebody-else", "AlarmActions": ["arn:other"], "Dimensions": [{"Name": "AutoScalingGroupName", "Value": "others"}]}]}'
  always autoscaling.describe-scheduled-actions '{"ScheduledUpdateGroupActions": [{"AutoScalingGroupName": "workers", "ScheduledActionName": "morning", "ScheduledActionARN": "arn:s", "StartTime": "2026-01-01T00:00:00Z", "Time": "2026-01-01T00:00:00Z", "Recurrence": "0 8 * * MON-FRI", "TimeZone": "Asia/Tokyo", "MinSize": 3, "MaxSize": 10, "DesiredCapacity": 5}]}'
  always autoscaling.put-scaling-policy '{"PolicyARN": "arn:new"}'
  local operation
  for operation in create-auto-scaling-group update-auto-scaling-group create-or-update-tags put-lifecycle-hook enable-metrics-collection \
    put-scheduled-update-group-action suspend-processes resume-processes; do
    always "autoscaling.$operation" '{}'
  done
  always cloudwatch.put-metric-alarm '{}'
  always ec2.modify-launch-template '{}'
  always sqs.send-message '{}'
  always logs.filter-log-events '{"events": [{"logStreamName": "i-0000000b", "message": "smoke test passed id={{smoke_id}}"}]}'
  always autoscaling.describe-scaling-activities '{"Activities": []}'
  always logs.describe-log-streams '{"logStreams": [{"logStreamName": "i-0000000b"}]}'
  always logs.get-log-events '{"events": [{"message": "the sandbox could not be closed"}]}'

  export blue no_group green_pending green_ready
  blue=$(group workers 3 2 '' i-0000000a=InService i-0000000d=InService)
  no_group='{"AutoScalingGroups": []}'
  green_pending=$(group workers-green 4 2 false i-0000000b=Pending:Wait i-0000000c=InService)
  green_ready=$(group workers-green 4 2 false i-0000000b=InService i-0000000c=InService)
  # Blue drains: two, one in the hook, none.
  groups workers "$blue" "$(group workers 3 0 false i-0000000a=Terminating:Wait)" "$(group workers 3 0 false)"
  groups workers-green "$no_group" "$no_group" "$green_pending" "$green_ready"
}

setup() {
  use_scripted_aws
  cp "$BATS_FILE_TMPDIR"/scenario/* "$AWS_SCENARIO"
  export ASG_NAME=workers SMOKE_TEST_TIMEOUT=60 SQS_QUEUE_URL=https://sqs.example/1/ingest
}

teardown() { no_unexpected_call; }

deploy() { run "$scripts/blue-green-deploy.sh" "$@"; }

# request OPERATION [NUMBER]: the JSON that the call was given.
request() {
  eval "set -- $(grep -E "^[a-z0-9]+ $1 " "$AWS_CALLS" | sed -n "${2:-1}p")"
  while [ "$1" != --cli-input-json ]; do shift; done
  printf '%s\n' "$2"
}

@test "success: green proves itself, takes over scaling, blue drains, then the default" {
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  [ "$(changes | grep -v get-caller | cut -d' ' -f2 | uniq | paste -sd' ')" = "create-launch-template-version create-auto-scaling-group create-or-update-tags \
enable-metrics-collection send-message put-scaling-policy put-metric-alarm put-scheduled-update-group-action \
resume-processes create-or-update-tags suspend-processes update-auto-scaling-group modify-launch-template" ]
  called 'update-auto-scaling-group --auto-scaling-group-name workers --min-size 0 --desired-capacity 0'
  not_called 'max-size'
  called 'modify-launch-template .*--default-version 4'
  [[ $output == *"smoke test passed on i-0000000b"*"still there: i-0000000a Terminating:Wait"*"blue-green-deploy.sh $old_ami"* ]]
}

@test "green has the shape of blue, its hooks from the first instance on, and no tag of AWS's own" {
  deploy "$new_ami"
  request create-auto-scaling-group | jq -e '.AutoScalingGroupName == "workers-green" and .LaunchTemplate == {LaunchTemplateId: "lt-1", Version: "4"}
    and .MinSize == 1 and .MaxSize == 10 and .DesiredCapacity == 2 and .VPCZoneIdentifier == "subnet-1,subnet-2" and .CapacityRebalance
    and .DefaultInstanceWarmup == 60 and (has("ServiceLinkedRoleARN") | not)
    and ([.LifecycleHookSpecificationList[] | .LifecycleHookName] == ["ready", "drain"])
    and ([.LifecycleHookSpecificationList[] | has("GlobalTimeout")] | any | not)
    and ([.Tags[].Key] == ["Application"]) and .Tags[0].ResourceId == "workers-green"'
}

@test "green's policies, alarms and schedules speak of green" {
  deploy "$new_ami"
  request put-scaling-policy 1 | jq -e '.AutoScalingGroupName == "workers-green" and (has("PolicyARN") | not)
    and .TargetTrackingConfiguration.CustomizedMetricSpecification.Metrics[0].MetricStat.Metric.Dimensions[0].Value == "workers-green"'
  request put-scaling-policy 2 | jq -e '.PolicyName == "emergency" and .MinAdjustmentMagnitude == 1'
  request put-metric-alarm | jq -e '.AlarmName == "queue-deep-green" and .AlarmActions == ["arn:new", "arn:aws:sns:t"] and (has("StateValue") | not)'
  request put-metric-alarm 2 | jq -e '.AlarmName == "unhealthy-green" and .Metrics[0].MetricStat.Metric.Dimensions[0].Value == "workers-green"'
  [ "$(count_calls put-metric-alarm)" -eq 2 ]
  request put-scheduled-update-group-action | jq -e '.TimeZone == "Asia/Tokyo" and (has("StartTime") | not) and .AutoScalingGroupName == "workers-green"'
}

@test "the tags say which group is active before blue drains" {
  deploy "$new_ami"
  local tags
  tags=$(grep create-or-update-tags "$AWS_CALLS" | tr -d '\\')
  grep -q '"ResourceId":"workers-green".*"Key":"Active","Value":"true"' <<<"$tags"
  grep -q '"ResourceId":"workers",.*"Key":"Active","Value":"false"' <<<"$tags"
  [ "$(grep -n 'Value.*true' "$AWS_CALLS" | grep create-or-update | tail -n 1 | cut -d: -f1)" -lt "$(grep -n suspend-processes "$AWS_CALLS" | cut -d: -f1)" ]
}

@test "green never comes into service: it is drained, blue untouched, exit 3 with its last lines" {
  groups workers-green "$no_group" "$no_group" "$green_pending" "$green_pending" "$(group workers-green 4 0 false)"
  deploy --timeout 0 "$new_ami"
  [ "$status" -eq 3 ]
  called 'update-auto-scaling-group --auto-scaling-group-name workers-green --min-size 0'
  not_called 'update-auto-scaling-group --auto-scaling-group-name workers '
  not_called modify-launch-template
  [[ $output == *"the sandbox could not be closed"* ]]
}

@test "only blue's workers answer the smoke test: green is drained, exit 3" {
  groups workers-green "$no_group" "$no_group" "$green_ready"
  always logs.filter-log-events '{"events": [{"logStreamName": "i-0000000a", "message": "smoke test passed id={{smoke_id}}"}]}'
  deploy --smoke-timeout 1 --drain-timeout 0 "$new_ami"
  [ "$status" -eq 3 ]
  [[ $output == *"answered by i-0000000a, which is not new"* ]]
  called 'update-auto-scaling-group --auto-scaling-group-name workers-green --min-size 0'
  not_called put-scaling-policy
}

@test "blue does not drain in time: exit 5, green stays active" {
  groups workers "$blue" "$(group workers 3 0 false i-0000000a=Terminating:Wait)"
  deploy --drain-timeout 0 "$new_ami"
  [ "$status" -eq 5 ]
  [[ $output == *"workers-green is active, but workers is not empty"* ]]
}

@test "a terminal lost while green starts: it goes on with green as it is" {
  groups workers-green "$green_pending" "$green_pending" "$green_ready"
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  not_called create-launch-template-version
  not_called create-auto-scaling-group
  called 'put-lifecycle-hook'
  [[ $output == *"already has $new_ami (version 4): going on there"* ]]
}

@test "a terminal lost while blue drains: it goes on draining" {
  groups workers "$(group workers 3 0 false i-0000000a=Terminating:Wait)" "$(group workers 3 0 false i-0000000a=Terminating:Wait)" "$(group workers 3 0 false)"
  groups workers-green "$(group workers-green 4 2 true i-0000000b=InService)"
  always ec2.describe-launch-template-versions "$(template_version 4 "$new_ami")"
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  not_called create
  not_called send-message
  called 'modify-launch-template .*--default-version 4'
}

@test "the next deployment goes back to the first group, at its own name" {
  groups workers "$(group workers 3 0 false)" "$(group workers 3 0 false)" "$(group workers 3 0 false)" "$(group workers 5 2 false i-0000000b=InService i-0000000c=InService)"
  groups workers-green "$(group workers-green 4 2 true i-0000000a=InService)" "$(group workers-green 4 0 false)"
  rm "$AWS_SCENARIO/ec2.describe-launch-template-versions@--versions 4"
  always ec2.describe-launch-template-versions "$(template_version 4 "$old_ami")"
  always ec2.create-launch-template-version '{"LaunchTemplateVersion": {"VersionNumber": 5}}'
  deploy "$new_ami"
  [ "$status" -eq 0 ]
  not_called create-auto-scaling-group
  request update-auto-scaling-group | jq -e '.AutoScalingGroupName == "workers" and .LaunchTemplate.Version == "5" and .DesiredCapacity == 2'
  request put-metric-alarm | jq -e '.AlarmName == "queue-deep"'
  called 'update-auto-scaling-group --auto-scaling-group-name workers-green --min-size 0 --desired-capacity 0'
}

@test "another image's instances on the other group, or a running refresh, are refused" {
  groups workers-green "$(group workers-green 9 1 false i-0000000c=InService)"
  always ec2.describe-launch-template-versions@'--versions 9' "$(template_version 9 ami-0000000000000009)"
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"neither empty nor this deployment's"* ]]
  groups workers "$blue"
  always autoscaling.describe-instance-refreshes '{"InstanceRefreshes": [{"InstanceRefreshId": "r-9", "Status": "InProgress"}]}'
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"instance refresh r-9 of workers is under way"* ]]
  [ -z "$(changes | grep -v get-caller)" ]
}

@test "dry run: nothing changed, every step said" {
  deploy --dry-run "$new_ami"
  [ "$status" -eq 0 ]
  [ -z "$(changes | grep -v get-caller)" ]
  [[ $output == *"create-auto-scaling-group"*"put-metric-alarm"*"--desired-capacity 0"*"modify-launch-template"* ]]
}

@test "expired credentials in the middle: the sentence says how to go on" {
  groups workers-green "$no_group" "$no_group" 'ERR:ExpiredToken:expired'
  deploy "$new_ami"
  [ "$status" -eq 1 ]
  [[ $output == *"log in again"*"The same command goes on where it was."* ]]
}

@test "the real CLI takes every call that these tests saw" {
  real_cli_takes_every_call
}
