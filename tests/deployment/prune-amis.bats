#!/usr/bin/env bats
# prune-amis.sh against a scripted AWS: what is old goes with its snapshots, what is in use stays however old.

load support/scripted-aws
load support/deploy-tools

setup() {
  use_scripted_aws
  # ami-01 is the oldest, ami-09 the newest; listed in no order. somebody's own image is not ours by name.
  always ec2.describe-images "$(jq -nc '{Images: ([range(1; 10)] | sort_by(. * 7 % 10) | map({ImageId: "ami-0\(.)",
    Name: "file-processor-worker-v2026010\(.)-000000", BlockDeviceMappings: [{DeviceName: "/dev/xvda", Ebs: {SnapshotId: "snap-0\(.)"}}, {DeviceName: "/dev/sdb"}]})
    + [{ImageId: "ami-own", Name: "my-experiment"}])}')"
  always ec2.describe-instances '{"Reservations": []}'
  always autoscaling.describe-auto-scaling-groups '{"AutoScalingGroups": []}'
  always autoscaling.describe-instance-refreshes '{"InstanceRefreshes": []}'
  always ec2.describe-snapshots '{"Snapshots": []}'
  always ec2.deregister-image '{}'
  always ec2.delete-snapshot '{}'
}

teardown() { no_unexpected_call; }

prune() { run "$scripts/prune-amis.sh" "$@"; }

removed() { sed -n 's/^ec2 deregister-image --image-id \([^ ]*\) .*/\1/p' "$AWS_CALLS" | sort | paste -sd' '; }

# version NUMBER AMI [DESCRIPTION]: of the template lt-1.
version() {
  always ec2.describe-launch-template-versions@"--versions $1 " "$(jq -nc --arg ami "$2" --arg description "${3:-}" \
    '{LaunchTemplateVersions: [{VersionNumber: 1, VersionDescription: $description, LaunchTemplateData: {ImageId: $ami}}]}')"
}

group() {
  always autoscaling.describe-auto-scaling-groups '{"AutoScalingGroups": [{"AutoScalingGroupName": "workers",
    "MixedInstancesPolicy": {"LaunchTemplate": {"LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1", "Version": "5"}}},
    "Instances": [{"InstanceId": "i-1", "LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "4"}}]}]}'
  sed -i ':a;N;$!ba;s/\n */ /g' "$AWS_SCENARIO/autoscaling.describe-auto-scaling-groups"
}

@test "the newest five stay, older ones go with their snapshots, others' are left alone" {
  prune --json
  [ "$status" -eq 0 ]
  [ "$(removed)" = "ami-01 ami-02 ami-03 ami-04" ]
  [ "$(count_calls 'delete-snapshot')" -eq 4 ]
  # First the image: a snapshot of a registered one cannot go.
  [ "$(grep -n 'deregister-image --image-id ami-01' "$AWS_CALLS" | cut -d: -f1)" -lt "$(grep -n 'snap-01' "$AWS_CALLS" | cut -d: -f1)" ]
  jq -e '(.images | length) == 4 and .failures == 0' <<<"${lines[-1]}"
}

@test "--keep says how many stay" {
  prune --keep 8
  [ "$(removed)" = ami-01 ]
}

@test "in use by an instance, also a stopped one: stays" {
  always ec2.describe-instances '{"Reservations": [{"Instances": [{"InstanceId": "i-1", "ImageId": "ami-02", "State": {"Name": "stopped"}}]}]}'
  prune
  [ "$(removed)" = "ami-01 ami-03 ami-04" ]
  [[ $output == *"ami-02 ("*") stays: instance i-1"* ]]
}

@test "the group's version, its instances', the template's own and the recorded previous image stay" {
  group
  version 5 ami-09 'ami-09 replaces ami-01 (version 4)'
  version 4 ami-02
  version '\$Default' ami-03
  version '\$Latest' ami-09
  prune
  [ "$status" -eq 0 ]
  [ "$(removed)" = ami-04 ]
  [[ $output == *"ami-01 ("*") stays: recorded as the previous image of ami-09"* ]]
}

@test "the image of a refresh that is under way stays" {
  group
  version 5 ami-09
  version 4 ami-09
  version '\$Default' ami-09
  version '\$Latest' ami-09
  version 7 ami-01
  always autoscaling.describe-instance-refreshes '{"InstanceRefreshes": [{"Status": "Baking", "DesiredConfiguration": {"LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "7"}}}]}'
  prune
  [ "$(removed)" = "ami-02 ami-03 ami-04" ]
}

@test "when it cannot be told what is in use, nothing is removed" {
  group
  version 5 resolve:ssm:/worker/ami
  version 4 ami-09
  version '\$Default' ami-09
  version '\$Latest' ami-09
  prune
  [ "$status" -eq 1 ]
  [[ $output == *"what is in use cannot be told"* ]]
  always ec2.describe-launch-template-versions@'--versions 5 ' 'ERR:UnauthorizedOperation:You are not authorized'
  prune
  [ "$status" -eq 1 ]
  [ -z "$(changes)" ]
}

@test "a version that was deleted starts nothing any more" {
  group
  version 5 ami-09
  version '\$Default' ami-09
  version '\$Latest' ami-09
  always ec2.describe-launch-template-versions@'--versions 4 ' 'ERR:InvalidLaunchTemplateId.VersionNotFound:Could not find the specified version'
  prune
  [ "$status" -eq 0 ]
  [ "$(removed)" = "ami-01 ami-02 ami-03 ami-04" ]
}

@test "dry run: said, not done" {
  prune --dry-run
  [ "$status" -eq 0 ]
  [ -z "$(changes)" ]
  [[ $output == *"would remove ami-04"*"would remove snapshot snap-04"* ]]
}

@test "one that AWS keeps does not stop the others, and is exit 1" {
  always ec2.deregister-image@ami-03 'ERR:OperationNotPermitted:Image is protected from deregistration'
  prune
  [ "$status" -eq 1 ]
  [ "$(count_calls 'deregister-image')" -eq 4 ]
  [[ $output == *"ami-03 ("*") stays: "*"protected from deregistration"* ]]
  not_called 'snap-03'
}

@test "snapshots that an earlier run did not come to are removed, those of images that are there are not" {
  always ec2.describe-snapshots '{"Snapshots": [{"SnapshotId": "snap-90", "Description": "Created by CreateImage(i-1) for ami-00"}, {"SnapshotId": "snap-09", "Description": "Created by CreateImage(i-1) for ami-09"}, {"SnapshotId": "snap-91", "Description": "a backup"}]}'
  prune --keep 9
  [ "$status" -eq 0 ]
  called 'delete-snapshot --snapshot-id snap-90'
  [ "$(count_calls delete-snapshot)" -eq 1 ]
}

@test "wrong usage is exit 2" {
  prune --keep 0
  [ "$status" -eq 2 ]
}

@test "the real CLI takes every call that these tests saw" {
  real_cli_takes_every_call
}
