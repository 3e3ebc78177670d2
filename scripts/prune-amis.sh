#!/usr/bin/env bash
# Removes old machine images of the worker with their snapshots. The newest five stay, and every one that is in use: by
# an instance in whatever state; by a group's launch template version, or that of an instance of it or of a refresh that
# is under way; by a template's default or newest version; as the image that one of these replaced, to which one would
# roll back. When it cannot be told what is in use, nothing is removed.
#   prune-amis.sh [--keep NUMBER] [--application NAME] [--dry-run] [--json]
#     --keep NUMBER        generations that stay in any case (default 5)
#     --application NAME   images with this tag Application (default file-processor)
#     --dry-run            say what would be removed
#     --json               what was removed, as one JSON object on standard output
#
# AWS_REGION, POLL_SECONDS, RETRIES, RETRY_SECONDS: see aws.sh
# Exit codes: 0 done; 1 something could not be read or removed, the sentence says what; 2 wrong usage

# shellcheck disable=SC2016  # jq has variables of its own
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/aws.sh"

keep=5 application=file-processor json=''
while (($#)); do
  case $1 in
    -h | --help) show_help && exit ;;
    --keep) argument "$1" $# && keep=$2 && shift ;;
    --application) argument "$1" $# && application=$2 && shift ;;
    --dry-run) dry_run=1 ;;
    --json) json=1 ;;
    *) usage_error "unknown argument $1" ;;
  esac
  shift
done
[[ $keep =~ ^[1-9][0-9]*$ ]] || usage_error "--keep needs a number from 1"
require_tools aws jq

declare -A in_use=()
removed=() removed_snapshots=() failures=0

# use AMI REASON
use() { [[ -z $1 ]] || in_use[$1]=${in_use[$1]:-$2}; }

read_images() {
  aws_read ec2 describe-images --owners self --filters "Name=tag:Application,Values=$application"
  # The name ends in the time at which it was made; names of other patterns are somebody's own and are left alone.
  images=$(answered -c '[.Images[] | select(.Name | test("-v[0-9]{8}-[0-9]{6}$"))]
    | sort_by(.Name | capture("-v(?<stamp>[0-9]{8}-[0-9]{6})$").stamp) | reverse')
}

use_images_of_instances() {
  aws_read ec2 describe-instances --filters Name=instance-state-name,Values=pending,running,stopping,stopped,shutting-down
  local ami instance
  while read -r ami instance; do use "$ami" "instance $instance"; done < <(answered '.Reservations[].Instances[] | .ImageId + " " + .InstanceId')
}

# use_version TEMPLATE VERSION: its image and the one that it replaced.
use_version() {
  aws_try reading ec2 describe-launch-template-versions --launch-template-id "$1" --versions "$2" || {
    # A version that was deleted starts no instance any more.
    grep -Eq 'VersionNotFound|InvalidLaunchTemplate[A-Za-z]*\.NotFound' <<<"$aws_error" && return
    aws_failed "$aws_error" ec2 describe-launch-template-versions
  }
  local ami description
  while IFS=$'\t' read -r ami description; do
    [[ $ami == ami-* || -z $ami ]] || die "version $2 of launch template $1 names its image as $ami: what is in use cannot be told, nothing is removed"
    use "$ami" "version $2 of template $1"
    use "$(sed -n 's/^ami-[0-9a-z]* replaces \(ami-[0-9a-z]*\) (version [0-9]*).*/\1/p' <<<"$description")" "recorded as the previous image of $ami"
  done < <(answered '.LaunchTemplateVersions[] | [.LaunchTemplateData.ImageId // "", .VersionDescription // ""] | @tsv')
}

# Every version that something points at, each once.
use_images_of_groups() {
  local pairs template version name
  aws_read autoscaling describe-auto-scaling-groups
  # Which versions: the group's, its overrides', its instances', and where the template itself points.
  pairs=$(answered '.AutoScalingGroups[] | (.LaunchTemplate, .MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification,
      .MixedInstancesPolicy.LaunchTemplate.Overrides[]?.LaunchTemplateSpecification, .Instances[]?.LaunchTemplate)
    | select(. != null) | .LaunchTemplateId + " " + (.Version // "$Default")')
  for name in $(answered '.AutoScalingGroups[].AutoScalingGroupName | @base64'); do
    aws_read autoscaling describe-instance-refreshes --auto-scaling-group-name "$(base64 -d <<<"$name")" --max-records 5
    pairs+=$'\n'$(answered '.InstanceRefreshes[]? | select(.Status as $s | ["Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress"] | index($s))
      | .DesiredConfiguration | (.LaunchTemplate // .MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification)
      | select(. != null) | .LaunchTemplateId + " " + .Version')
  done
  pairs=$(
    printf '%s\n' "$pairs"
    cut -d' ' -f1 <<<"$pairs" | sort -u | sed -n 's/..*/& $Default\n& $Latest/p'
  )
  while read -r template version; do
    [[ -z $template ]] || use_version "$template" "$version"
  done < <(sort -u <<<"$pairs")
}

# remove_snapshot SNAPSHOT: also one that an earlier run did not come to.
remove_snapshot() {
  if [[ -n $dry_run ]]; then
    say "would remove snapshot $1"
    return
  fi
  if aws_try changing ec2 delete-snapshot --snapshot-id "$1"; then
    removed_snapshots+=("$1")
    say "snapshot $1 removed"
  elif ! grep -q 'InvalidSnapshot.NotFound' <<<"$aws_error"; then
    is_credentials_trouble "$aws_error" && aws_failed "$aws_error" ec2 delete-snapshot
    say "snapshot $1 stays: $(grep -v '^$' <<<"$aws_error" | tail -n 1)"
    failures=$((failures + 1))
  fi
}

# remove_image AMI NAME SNAPSHOT...
remove_image() {
  if [[ -n $dry_run ]]; then
    say "would remove $1 ($2)"
  elif aws_try changing ec2 deregister-image --image-id "$1"; then
    removed+=("$1")
    say "$1 ($2) removed"
  else
    is_credentials_trouble "$aws_error" && aws_failed "$aws_error" ec2 deregister-image
    say "$1 ($2) stays: $(grep -v '^$' <<<"$aws_error" | tail -n 1)"
    failures=$((failures + 1))
    return
  fi
  local snapshot
  for snapshot in "${@:3}"; do remove_snapshot "$snapshot"; done
}

# Snapshots of images that are gone: AWS writes the image's id into their description.
remove_orphaned_snapshots() {
  aws_read ec2 describe-snapshots --owner-ids self --filters "Name=tag:Application,Values=$application"
  local snapshot
  for snapshot in $(answered --argjson images "$all_images" '.Snapshots[] | select(.Description // "" | test("^Created by CreateImage.* for ami-"))
    | select((.Description | capture(" for (?<ami>ami-[0-9a-z]+)").ami) as $ami | $images | index($ami) | not) | .SnapshotId'); do
    say "snapshot $snapshot is of an image that is gone"
    remove_snapshot "$snapshot"
  done
}

read_images
# All of the account's, not only those whose names we know.
all_images=$(answered -c '[.Images[].ImageId]')
use_images_of_instances
use_images_of_groups

position=0
while IFS=$'\t' read -r ami name snapshots; do
  [[ -n $ami ]] || continue
  position=$((position + 1))
  if ((position <= keep)); then
    say "$ami ($name) stays: among the newest $keep"
  elif [[ -n ${in_use[$ami]:-} ]]; then
    say "$ami ($name) stays: ${in_use[$ami]}"
  else
    read -ra snapshot_list <<<"$snapshots"
    remove_image "$ami" "$name" ${snapshot_list[@]+"${snapshot_list[@]}"}
  fi
done < <(jq -r '.[] | [.ImageId, .Name, ([.BlockDeviceMappings[]?.Ebs.SnapshotId // empty] | join(" "))] | @tsv' <<<"$images")
remove_orphaned_snapshots

if [[ -n $json ]]; then
  jq -nc --argjson images "$(jq -nc '$ARGS.positional' --args ${removed[@]+"${removed[@]}"})" \
    --argjson snapshots "$(jq -nc '$ARGS.positional' --args ${removed_snapshots[@]+"${removed_snapshots[@]}"})" \
    --argjson failures "$failures" '{images: $images, snapshots: $snapshots, failures: $failures}'
fi
((failures == 0)) || die "$failures could not be removed, see above"
