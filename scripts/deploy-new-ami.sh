#!/usr/bin/env bash
# Puts a new image on the worker's Auto Scaling group, instance by instance, and back by itself when it is no good.
#   deploy-new-ami.sh [OPTIONS] ami-0123456789abcdef0
#   deploy-new-ami.sh --smoke-test        only sends the smoke test to the group as it is
#
# Steps: a new launch template version N, which differs from the group's by the image only; an instance refresh to
# version N that launches before it terminates (100 to 200 per cent healthy) and rolls back by itself on failure or
# alarm; while AWS "bakes" the result, a smoke test that an instance of version N has to pass, or it is rolled back; only
# then N becomes the template's default. After a lost terminal the same command goes on where it was: it finds the
# refresh of that image and watches it.
#
# Rolling back by hand is the same command with the old image; the script prints it. The old image is recorded in the
# description of version N, where prune-amis.sh finds it.
#
# Environment
#   ASG_NAME               the group (required)
#   LAUNCH_TEMPLATE_NAME   its launch template; when set it has to be the group's
#   SQS_QUEUE_URL          the queue for the smoke test; default: the one in the template's user data
#   CLOUDWATCH_LOG_GROUP   where the workers' log is (default /aws/ec2/file-processor)
#   ROLLBACK_ALARMS        names of CloudWatch alarms that roll the deployment back, separated by spaces; default: those
#                          on what workers put into the queue's dead-letter queue
#   AWS_REGION, POLL_SECONDS, RETRIES, RETRY_SECONDS   see aws.sh
# Options
#   --timeout SECONDS        stop watching after this time (default 3600; a rollback gets as much again)
#   --bake SECONDS           how long AWS watches the alarms when all instances are new (default 600)
#   --smoke-timeout SECONDS  how long an instance may take to pass the smoke test (default 540)
#   --without-alarms         no alarm rolls back: for an image that mends what rings
#   --dry-run                read everything, change nothing, say what would be done
#   --json                   the result as one JSON object on standard output
# Exit codes
#   0  the group runs the image, the smoke test passed, version N is the default
#   1  it could not be begun or watched: the sentence says why
#   2  wrong usage
#   3  rolled back: the group is as it was
#   4  failed or cancelled, and not rolled back: instances may be of two images
#   5  the time is over, the refresh goes on; the same command watches it again
#   6  the group runs the image, but no new instance passed the smoke test; the default is unchanged

# shellcheck disable=SC2016  # jq has variables of its own
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/deploy-steps.sh"

timeout_seconds=3600 bake_seconds=600 without_alarms='' json='' only_smoke_test='' new_ami=''
while (($#)); do
  case $1 in
    -h | --help) show_help && exit ;;
    --timeout) argument "$1" $# && timeout_seconds=$2 && shift ;;
    --bake) argument "$1" $# && bake_seconds=$2 && shift ;;
    --smoke-timeout) argument "$1" $# && smoke_seconds=$2 && shift ;;
    --without-alarms) without_alarms=1 ;;
    --smoke-test) only_smoke_test=1 ;;
    --dry-run) dry_run=1 ;;
    --json) json=1 ;;
    -*) usage_error "unknown option $1" ;;
    *)
      [[ -z $new_ami ]] || usage_error "one image at a time, not also $1"
      new_ami=$1
      ;;
  esac
  shift
done
[[ -n $new_ami || -n $only_smoke_test ]] || usage_error "which image? such as: $(basename "$0") ami-0123456789abcdef0"
[[ -n ${ASG_NAME:-} ]] || usage_error "export ASG_NAME, the Auto Scaling group's name"
for number in "$timeout_seconds" "$bake_seconds" "$smoke_seconds"; do
  [[ $number =~ ^[0-9]+$ ]] || usage_error "$number is not a number of seconds"
done

# The refresh that is watched, and how it stands.
refresh_id='' refresh_status='' smoke_result=''

# finish CODE SENTENCE: the one way out of a deployment that was begun.
finish() {
  say "$2"
  if [[ -n $json ]]; then
    jq -nc --arg result "$2" --argjson code "$1" --arg ami "$new_ami" --arg previous "$current_ami" --arg group "$group_name" \
      --arg version "$version" --arg refresh "$refresh_id" --arg status "$refresh_status" \
      --arg instance "$smoke_instance" --arg smoke "$smoke_id" \
      '{exit_code: $code, result: $result, ami: $ami, previous_ami: $previous, group: $group, version: $version,
        refresh_id: $refresh, refresh_status: $status, smoke_test: {passed: ($instance != ""), id: $smoke, instance: $instance}}'
  fi
  exit "$1"
}

say_way_back() {
  say "back to $current_ami by hand: ASG_NAME=$group_name LAUNCH_TEMPLATE_NAME=$template_name $0 $current_ami"
}

# find_refresh: one of this image that is under way is taken up again; one of another image is in the way.
find_refresh() {
  aws_read autoscaling describe-instance-refreshes --auto-scaling-group-name "$group_name" --max-records 5
  local running
  running=$(answered -c '[.InstanceRefreshes[]? | select(.Status as $s
    | ["Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress"] | index($s))][0] // empty')
  [[ -n $running ]] || return 1
  refresh_id=$(jq -r .InstanceRefreshId <<<"$running")
  started=$(jq -r '.StartTime // ""' <<<"$running")
  version=$(jq -r '.DesiredConfiguration | (.LaunchTemplate // .MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification).Version // ""' <<<"$running")
  if [[ -n $version ]]; then
    read_version "$version"
    if [[ $version_image == "$new_ami" ]]; then
      local previous
      previous=$(previous_ami)
      current_ami=${previous:-$current_ami}
      say "refresh $refresh_id to version $version ($new_ami) is under way: going on to watch it"
      return 0
    fi
  fi
  die "another refresh of $group_name is under way ($refresh_id, $(jq -r .Status <<<"$running"), version ${version:-unknown}${version:+, $version_image}): wait for its end, or stop it with: aws autoscaling rollback-instance-refresh --auto-scaling-group-name $group_name"
}

start_refresh() {
  local preferences alarms
  alarms=$(jq -nc '$ARGS.positional' --args ${rollback_alarms[@]+"${rollback_alarms[@]}"})
  # Launch before terminate, whatever the size of the group. Instances in standby are somebody's, those protected from
  # scale-in drain like all others.
  preferences=$(jq -nc --argjson bake "$bake_seconds" --argjson alarms "$alarms" '{MinHealthyPercentage: 100,
    MaxHealthyPercentage: 200, AutoRollback: true, BakeTime: $bake, SkipMatching: true,
    ScaleInProtectedInstances: "Refresh", StandbyInstances: "Ignore"}
    + if $alarms == [] then {} else {AlarmSpecification: {Alarms: $alarms}} end')
  aws_change autoscaling start-instance-refresh --auto-scaling-group-name "$group_name" --strategy Rolling \
    --desired-configuration "$(configuration_with "$version" | jq -c .)" --preferences "$preferences"
  refresh_id=$(answered '.InstanceRefreshId // "NEW"')
  say "refresh $refresh_id to version $version has begun"
  say "back while it runs: aws autoscaling rollback-instance-refresh --auto-scaling-group-name $group_name"
}

# roll_back: asks AWS for it; when it already does so, or is through, the status will say so.
roll_back() {
  say "rolling back to $current_ami"
  aws_try changing autoscaling rollback-instance-refresh --auto-scaling-group-name "$group_name" && return
  grep -Eq 'ActiveInstanceRefreshNotFound|IrreversibleInstanceRefresh' <<<"$aws_error" && return
  aws_failed "$aws_error" autoscaling rollback-instance-refresh
}

read_refresh() {
  aws_read autoscaling describe-instance-refreshes --auto-scaling-group-name "$group_name" --instance-refresh-ids "$refresh_id"
  local line
  line=$(answered '.InstanceRefreshes[0] // empty | "\(.Status), \(.PercentageComplete // 0) %, \(.InstancesToUpdate // 0) instances to go"
    + (if .StatusReason then ": " + .StatusReason else "" end)')
  [[ -n $line ]] || die "AWS knows no refresh $refresh_id of $group_name any more"
  refresh_status=${line%%,*}
  if [[ $line != "${last_line:-}" ]] || ((SECONDS - last_line_at >= 60)); then
    say "$(clock) $line"
    last_line=$line last_line_at=$SECONDS
  fi
}

# watch_refresh: until AWS is done with it; tests while it bakes.
watch_refresh() {
  local deadline=$((SECONDS + timeout_seconds)) rolling_back='' last_line='' last_line_at=0
  resume_hint="The refresh goes on without this script; the same command watches it again."
  while :; do
    read_refresh
    see_instances "$group_name" "$version"
    case $refresh_status in
      Successful | Failed | Cancelled | RollbackSuccessful | RollbackFailed) return 0 ;;
      Baking)
        if [[ -z $smoke_result && -z $rolling_back ]]; then
          if smoke_test "$group_name" "$version"; then
            smoke_result=passed
            say "AWS watches the alarms for the rest of the $bake_seconds s"
          else
            smoke_result=failed
            roll_back
            rolling_back=1 deadline=$((SECONDS + timeout_seconds))
          fi
        fi
        ;;
      RollbackInProgress)
        [[ -n $rolling_back ]] || deadline=$((SECONDS + timeout_seconds))
        rolling_back=1
        ;;
      Pending | InProgress | Cancelling) ;;
      *) say "$refresh_status is a state this script does not know; going on to watch" ;;
    esac
    ((SECONDS < deadline)) || finish 5 "$refresh_status still, after $timeout_seconds s: not watching any longer, the refresh goes on; the same command watches it again"
    sleep "$poll_seconds"
  done
}

# conclude: what the last status means. Success is not complete without its smoke test.
conclude() {
  resume_hint=''
  case $refresh_status in
    Successful) ;;
    RollbackSuccessful)
      show_last_lines "$group_name" "$started"
      finish 3 "rolled back: $group_name runs $current_ami as before; $new_ami stays in version $version, which is not the default"
      ;;
    *)
      show_last_lines "$group_name" "$started"
      say_way_back
      finish 4 "the refresh ended as $refresh_status: instances of $group_name may be of two images"
      ;;
  esac
  if [[ -z $smoke_result ]] && smoke_test "$group_name" "$version"; then smoke_result=passed; fi
  if [[ $smoke_result != passed ]]; then
    show_last_lines "$group_name" "$started"
    say_way_back
    finish 6 "$group_name runs $new_ami, but no new instance passed the smoke test; the default version is unchanged"
  fi
  say_left_behind
  make_default
  say_way_back
  say "Terraform should know too: ami_id = \"$new_ami\" in terraform.tfvars"
  finish 0 "$group_name runs $new_ami ($image_name), version $version"
}

# Instances in standby were passed over.
say_left_behind() {
  read_group "$group_name" || return 0
  local left
  left=$(of_group --arg v "$version" '[.Instances[]? | select(.LaunchTemplate.Version != $v) | .InstanceId + " (" + .LifecycleState + ")"] | join(", ")')
  [[ -z $left ]] || say "still at another version: $left"
}

only_test() {
  version=$current_version
  find_queue
  [[ -n $dry_run ]] && die "--smoke-test has nothing to show without sending a message"
  if smoke_test "$group_name" "$version"; then finish 0 "$group_name passed the smoke test"; fi
  show_last_lines "$group_name" "$started"
  finish 6 "no instance of $group_name passed the smoke test"
}

# all_at_version: whether there is nothing to replace.
all_at_version() {
  [[ $(of_group --arg v "$version" '[.Instances[]? | select(.LaunchTemplate.Version != $v)] | length') == 0 ]]
}

begin() {
  if [[ $current_ami == "$new_ami" ]]; then
    version=$current_version
    local previous
    previous=$(previous_ami)
    current_ami=${previous:-$current_ami}
    if all_at_version; then
      say "$group_name has $new_ami already; what may be left is the smoke test and the default version"
      refresh_status=Successful
      return
    fi
    say "$group_name has $new_ami already, but not all its instances: replacing those"
  else
    pin_version
    make_version "$new_ami"
  fi
  start_refresh
}

require_tools aws jq base64 gzip
read_identity
started=$(date -u +%Y-%m-%dT%H:%M:%S)
read_active_group "$ASG_NAME"
group_name=$(of_group .AutoScalingGroupName)
read_template
[[ -z $only_smoke_test ]] || new_ami=$current_ami
read_image "$new_ami"
[[ -z $only_smoke_test ]] || only_test
say "group $group_name: $current_ami (version $current_version of $template_name) -> $new_ami ($image_name)"
[[ $(of_group .DesiredCapacity) != 0 ]] ||
  die "$group_name has no instance, so nothing could prove the image: set its desired capacity to 1 or more first"
find_queue
if ! find_refresh; then
  [[ -n $without_alarms ]] || find_alarms
  check_alarms
  begin
fi
[[ -z $dry_run ]] || finish 0 "dry run: nothing was changed; the refresh would be watched, tested, and version $version made the default"
[[ $refresh_status == Successful ]] || watch_refresh
conclude
