#!/usr/bin/env bash
# Puts a new image on a second Auto Scaling group beside the active one, and drains the active one when the new has proved
# itself. The two groups, NAME and NAME-green, take turns; they share launch template and queue.
#   blue-green-deploy.sh [OPTIONS] ami-0123456789abcdef0
#
# Steps: a new launch template version N, which differs from the active group's by the image only; the other group at
# version N, of the same shape (made the first time: network, sizes, lifecycle hooks, tags, metrics); wait until all its
# instances are in service, which the launch hook says when the worker is READY; a smoke test that one of them has to
# pass; scaling policies, alarms and schedules for it; then the active group stops scaling and drains to nothing through
# its termination hook, documents in flight being finished or given back; the tags Active and Color say which is which;
# N becomes the template's default. When the new group does not prove itself it is drained instead, and the active group
# has never been touched. After a lost terminal the same command goes on where it was: every step looks first.
#
# Rolling back by hand is the same command with the old image; the script prints it.
#
# Environment
#   ASG_NAME               either of the two groups, or the only one there is yet (required)
#   LAUNCH_TEMPLATE_NAME   its launch template; when set it has to be the group's
#   SQS_QUEUE_URL          the queue for the smoke test; default: the one in the template's user data
#   CLOUDWATCH_LOG_GROUP   where the workers' log is (default /aws/ec2/file-processor)
#   AWS_REGION, POLL_SECONDS, RETRIES, RETRY_SECONDS   see aws.sh
# Options
#   --timeout SECONDS        how long the new instances may take until they are in service (default 1800)
#   --smoke-timeout SECONDS  how long an instance may take to pass the smoke test (default 540)
#   --drain-timeout SECONDS  how long a group may take to drain (default 3600)
#   --dry-run                read everything, change nothing, say what would be done
# Exit codes
#   0  the new group is active, the other one empty
#   1  it could not be begun or gone on with: the sentence says why
#   2  wrong usage
#   3  the new group did not prove itself and was drained; the active group is as it was
#   5  the new group is active, but the old one was not empty in time; the same command watches it again

# shellcheck disable=SC2016  # jq has variables of its own
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/deploy-steps.sh"
. "$(dirname "${BASH_SOURCE[0]}")/group-shape.sh"

timeout_seconds=1800 drain_seconds=3600 new_ami=''
while (($#)); do
  case $1 in
    -h | --help) show_help && exit ;;
    --timeout) argument "$1" $# && timeout_seconds=$2 && shift ;;
    --smoke-timeout) argument "$1" $# && smoke_seconds=$2 && shift ;;
    --drain-timeout) argument "$1" $# && drain_seconds=$2 && shift ;;
    --dry-run) dry_run=1 ;;
    -*) usage_error "unknown option $1" ;;
    *)
      [[ -z $new_ami ]] || usage_error "one image at a time, not also $1"
      new_ami=$1
      ;;
  esac
  shift
done
[[ -n $new_ami ]] || usage_error "which image? such as: $(basename "$0") ami-0123456789abcdef0"
[[ -n ${ASG_NAME:-} ]] || usage_error "export ASG_NAME, the Auto Scaling group's name"
for number in "$timeout_seconds" "$smoke_seconds" "$drain_seconds"; do
  [[ $number =~ ^[0-9]+$ ]] || usage_error "$number is not a number of seconds"
done

# refuse_refresh GROUP: an instance refresh of either group would work against this.
refuse_refresh() {
  aws_read autoscaling describe-instance-refreshes --auto-scaling-group-name "$1" --max-records 5
  local running
  running=$(answered '[.InstanceRefreshes[]? | select(.Status as $s
    | ["Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress"] | index($s))][0].InstanceRefreshId // ""')
  [[ -z $running ]] || die "instance refresh $running of $1 is under way: wait for its end first"
}

# choose_version: the one that the new group already has from an interrupted run, else a new one.
choose_version() {
  if read_group "$new_group"; then
    local kept=$group
    group=$active
    if [[ $(jq '.Instances | length' <<<"$kept") != 0 ]]; then
      version=$(jq -r '(.LaunchTemplate // .MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification).Version' <<<"$kept")
      read_version "$version"
      [[ $version_image == "$new_ami" ]] ||
        die "$new_group still has instances, of $version_image: it is neither empty nor this deployment's; drain it first (desired capacity 0)"
      say "$new_group already has $new_ami (version $version): going on there"
      return
    fi
  fi
  group=$active
  make_version "$new_ami"
}

# all_in_service: as many instances as wanted, each at the version, healthy and in service. The launch hook lets an
# instance into service when its worker has said READY.
all_in_service() {
  see_instances "$new_group" "$version"
  local ready wanted line
  ready=$(of_group --arg v "$version" '[.Instances[]? | select(.LaunchTemplate.Version == $v
    and .LifecycleState == "InService" and .HealthStatus == "Healthy")] | length')
  wanted=$(of_group .DesiredCapacity)
  line="$new_group: $ready of $wanted in service ($(of_group '[.Instances[]? | .InstanceId + " " + .LifecycleState] | join(", ")'))"
  [[ $line == "${last_line:-}" ]] || say "$(clock) $line"
  last_line=$line
  ((ready >= wanted && ready > 0))
}

# drain GROUP: no more scaling, then no more instances; each goes through the termination hook, which waits for the
# documents in flight. The maximum stays: it is the shape of the group for the next turn.
drain() {
  aws_change autoscaling suspend-processes --auto-scaling-group-name "$1" --scaling-processes AlarmNotification ScheduledActions
  aws_change autoscaling update-auto-scaling-group --auto-scaling-group-name "$1" --min-size 0 --desired-capacity 0
  [[ -z $dry_run ]] || return 0
  last_line=''
  wait_until "$drain_seconds" is_empty "$1"
}

is_empty() {
  read_group "$1" || return 0
  local left
  left=$(of_group '[.Instances[]? | .InstanceId + " " + .LifecycleState] | join(", ")')
  [[ -n $left ]] || return 0
  [[ $left == "${last_line:-}" ]] || say "$(clock) $1: still there: $left"
  last_line=$left
  return 1
}

# give_up SENTENCE: the new group is drained, the active one was never touched.
give_up() {
  say "$1"
  show_last_lines "$new_group" "$started"
  say "rolling back: draining $new_group"
  drain "$new_group" || say "$new_group is not empty after $drain_seconds s; it drains further by itself"
  say "$1; $active_name runs $current_ami as before; $new_ami stays in version $version, which is not the default"
  exit 3
}

prove_new_group() {
  last_line=''
  wait_until "$timeout_seconds" all_in_service ||
    give_up "the instances of $new_group were not in service after $timeout_seconds s"
  smoke_test "$new_group" "$version" || give_up "no instance of $new_group passed the smoke test"
}

promote() {
  local drained=1
  say "[5/7] scaling policies, alarms and schedules of $new_group"
  copy_scaling "$active_name" "$new_group"
  aws_change autoscaling resume-processes --auto-scaling-group-name "$new_group" --scaling-processes AlarmNotification ScheduledActions
  # Before the drain: should the terminal be lost during it, the next run has to know which group is active.
  tag_group "$new_group" true "$(colour_of "$new_group")"
  tag_group "$active_name" false "$(colour_of "$active_name")"
  say "[6/7] draining $active_name"
  drain "$active_name" || drained=''
  say "[7/7] default version"
  make_default
  say "back to $current_ami by hand: ASG_NAME=$ASG_NAME LAUNCH_TEMPLATE_NAME=$template_name $0 $current_ami"
  if [[ -z $drained ]]; then
    say "$new_group is active, but $active_name is not empty after $drain_seconds s; the same command watches it again"
    exit 5
  fi
}

# finish_drain: a run that ended after the tags were set left this.
finish_drain() {
  version=$current_version
  say "$active_name is active and has $new_ami already; what may be left is its other colour's drain and the default version"
  if read_group "$new_group" && [[ $(of_group '.Instances | length') != 0 ]]; then
    drain "$new_group" || {
      say "$new_group is not empty after $drain_seconds s; the same command watches it again"
      exit 5
    }
  fi
  make_default
}

require_tools aws jq base64 gzip
read_identity
started=$(date -u +%Y-%m-%dT%H:%M:%S)
read_active_group "$ASG_NAME"
active=$group active_name=$(of_group .AutoScalingGroupName)
new_group=$(other_colour "$active_name")
resume_hint="The same command goes on where it was."
read_template
read_image "$new_ami"
find_queue
if [[ $current_ami == "$new_ami" ]]; then
  finish_drain
  say "$active_name runs $new_ami ($image_name), version $version"
  exit 0
fi
[[ $(of_group .DesiredCapacity) != 0 ]] || die "$active_name has no instance: there is no size to give to $new_group"
refuse_refresh "$active_name"

say "active: $active_name with $current_ami (version $current_version of $template_name); new: $new_group with $new_ami ($image_name)"
say "[1/7] launch template version"
pin_version
choose_version
say "[2/7] group $new_group at version $version"
make_group "$active" "$new_group" "$version"
if [[ -n $dry_run ]]; then
  say "[3/7] [4/7] would wait for its instances and for the smoke test"
  promote
  say "dry run: nothing was changed"
  exit 0
fi
say "[3/7] instances in service, [4/7] smoke test"
prove_new_group
promote
say "$new_group runs $new_ami ($image_name), version $version; $active_name is empty; both names are good for ASG_NAME from now on"
