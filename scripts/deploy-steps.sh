#!/usr/bin/env bash
# What the rolling and the blue/green deployment have in common; sourced by them, never run. The steps read AWS into the
# variables named below and end the script with a sentence when something is not as it has to be.
#
# group               the group as describe-auto-scaling-groups shows it
# template_id         the launch template of the group
# current_version     its version in the group, always a number
# current_ami         the image of that version
# new_instances       instances seen at the new version so far, in order
# rollback_alarms     alarms that stop a deployment, see find_alarms
# smoke_instance      the instance that passed the smoke test, smoke_id the id of its message
#
# shellcheck disable=SC2016,SC2034  # jq has variables of its own; the scripts that source this read what it sets
. "$(dirname "${BASH_SOURCE[0]}")/aws.sh"

log_group=${CLOUDWATCH_LOG_GROUP:-/aws/ec2/file-processor}
smoke_seconds=${SMOKE_TEST_TIMEOUT:-540}
smoke_again_seconds=${SMOKE_TEST_AGAIN:-30}
smoke_instance='' smoke_id=''
new_instances=()
rollback_alarms=()

read_identity() {
  aws_read sts get-caller-identity
  say "$(answered '"account \(.Account) as \(.Arn | split("/")[1:] | join("/"))"')"
}

# read_image AMI: it has to be there, ready, and not a mistyped one.
read_image() {
  [[ $1 =~ ^ami-[0-9a-z]{8,}$ ]] || usage_error "$1 is not the id of an image, such as ami-0123456789abcdef0"
  aws_try reading ec2 describe-images --image-ids "$1" || {
    grep -q 'InvalidAMIID' <<<"$aws_error" && die "there is no image $1 in this region and account; see aws ec2 describe-images --owners self"
    aws_failed "$aws_error" ec2 describe-images
  }
  local state
  read -r state image_name < <(answered '.Images[0] // empty | "\(.State) \(.Name)"') || die "there is no image $1 in this region and account"
  [[ $state == available ]] || die "image $1 is $state, not available: wait for it (build-ami.sh image does) or make another"
}

# read_group NAME: fails quietly when there is none.
read_group() {
  aws_read autoscaling describe-auto-scaling-groups --auto-scaling-group-names "$1"
  local found
  found=$(answered -c '.AutoScalingGroups[0] // empty')
  [[ -n $found ]] || return 1
  group=$found
}

of_group() { jq -r "$@" <<<"$group"; }

# The group's other colour: NAME and NAME-green take turns.
other_colour() {
  case $1 in
    *-green) printf '%s\n' "${1%-green}" ;;
    *) printf '%s-green\n' "$1" ;;
  esac
}

# read_active_group NAME: the group itself, or its other colour where a blue/green deployment has left that one active.
read_active_group() {
  read_group "$1" || die "there is no Auto Scaling group $1 in this region; ASG_NAME names it"
  [[ $(of_group '[.Tags[]? | select(.Key == "Active")][0].Value // ""') == false ]] || return 0
  local other
  other=$(other_colour "$1")
  say "$1 was drained by a blue/green deployment; the active group is $other"
  read_group "$other" || die "$1 has the tag Active=false, but there is no group $other: set ASG_NAME, or that tag, to what is true"
}

# read_template: which launch template and version the group uses; how many of its versions say so is decided by AWS,
# so the version is resolved to a number.
read_template() {
  local specification
  specification=$(of_group '.LaunchTemplate // .MixedInstancesPolicy.LaunchTemplate.LaunchTemplateSpecification // empty')
  [[ -n $specification ]] || die "group $(of_group .AutoScalingGroupName) uses no launch template: make one of its launch configuration first"
  read -r template_id template_name version_in_group < <(jq -r '"\(.LaunchTemplateId) \(.LaunchTemplateName) \(.Version // "$Default")"' <<<"$specification")
  if [[ -n ${LAUNCH_TEMPLATE_NAME:-} && $LAUNCH_TEMPLATE_NAME != "$template_name" ]]; then
    die "LAUNCH_TEMPLATE_NAME is $LAUNCH_TEMPLATE_NAME, but group $(of_group .AutoScalingGroupName) uses $template_name: correct one of them"
  fi
  if [[ $(of_group '[.MixedInstancesPolicy.LaunchTemplate.Overrides[]? | select(.LaunchTemplateSpecification)] | length') != 0 ]]; then
    die "group $(of_group .AutoScalingGroupName) overrides its launch template for some instance types: one image does not fit them all; deploy it with Terraform"
  fi
  read_version "$version_in_group"
  current_version=$version_number current_ami=$version_image
}

# read_version VERSION: into version_number, version_image, version_description, version_data.
read_version() {
  aws_read ec2 describe-launch-template-versions --launch-template-id "$template_id" --versions "$1"
  local fields
  mapfile -t fields < <(answered -c '.LaunchTemplateVersions[0] // empty
    | .VersionNumber, .LaunchTemplateData.ImageId // "", .VersionDescription // "", .LaunchTemplateData')
  ((${#fields[@]})) || die "launch template $template_id has no version $1"
  version_number=${fields[0]} version_image=${fields[1]} version_description=${fields[2]} version_data=${fields[3]}
}

# AWS rolls back by itself only where the group names a number: $Latest and $Default would already mean the new image.
pin_version() {
  [[ $version_in_group != "$current_version" ]] || return 0
  say "the group uses version $version_in_group; setting it to $current_version, which is the same today, because AWS does not roll back otherwise"
  update_group_version "$(of_group .AutoScalingGroupName)" "$current_version"
}

# The same policy or specification with another version, as a request takes it: by id only.
configuration_with() {
  of_group --arg id "$template_id" --arg version "$1" '
    if .MixedInstancesPolicy
    then {MixedInstancesPolicy: (.MixedInstancesPolicy
      | .LaunchTemplate.LaunchTemplateSpecification = {LaunchTemplateId: $id, Version: $version})}
    else {LaunchTemplate: {LaunchTemplateId: $id, Version: $version}} end'
}

# update_group_version GROUP VERSION
update_group_version() {
  local configuration
  configuration=$(configuration_with "$2" | jq -c --arg name "$1" '{AutoScalingGroupName: $name} + .')
  aws_change autoscaling update-auto-scaling-group --cli-input-json "$configuration"
}

# The old image stands in the description of the version that replaces it: what was deployed instead of what is known
# for as long as the version is, and prune-amis.sh keeps that image. A version that Terraform made later has the text of
# the one before it: then another image stands in front.
description_of() { printf '%s replaces %s (version %s)\n' "$1" "$current_ami" "$current_version"; }
previous_ami() { sed -n "s/^$version_image replaces \\(ami-[0-9a-z]*\\) (version [0-9]*).*/\\1/p" <<<"$version_description"; }

# make_version AMI: sets version to one with that image, otherwise like the current. One that an interrupted run has
# left is taken again.
make_version() {
  local description
  description=$(description_of "$1")
  aws_read ec2 describe-launch-template-versions --launch-template-id "$template_id"
  version=$(answered --arg d "$description" --arg ami "$1" --argjson current "$current_version" '
    [.LaunchTemplateVersions[] | select(.VersionDescription == $d and .LaunchTemplateData.ImageId == $ami
      and .VersionNumber > $current)] | max_by(.VersionNumber).VersionNumber // ""')
  if [[ -n $version ]]; then
    say "version $version of $template_name already has $1: using it"
    return
  fi
  aws_change ec2 create-launch-template-version --launch-template-id "$template_id" --source-version "$current_version" \
    --version-description "$description" --launch-template-data "$(jq -nc --arg ami "$1" '{ImageId: $ami}')"
  version=$(answered '.LaunchTemplateVersion.VersionNumber // "NEW"')
  say "version $version of $template_name: $description"
}

# What says which template version is used by everything that does not name one, changed last.
make_default() {
  aws_change ec2 modify-launch-template --launch-template-id "$template_id" --default-version "$version"
  say "version $version is now the default of $template_name"
}

# find_alarms: those of ROLLBACK_ALARMS; where that is not set, those that count what workers put into the queue's
# dead-letter queue, as Terraform's refresh guard does. Alarms on the queues' depth would not do: they ring on busy days.
find_alarms() {
  if [[ -n ${ROLLBACK_ALARMS+set} ]]; then
    read -ra rollback_alarms <<<"$ROLLBACK_ALARMS"
    return
  fi
  aws_read sqs get-queue-attributes --queue-url "$queue_url" --attribute-names RedrivePolicy
  local dead_letters
  dead_letters=$(answered '.Attributes.RedrivePolicy // "{}" | fromjson | .deadLetterTargetArn // "" | split(":") | last // ""')
  [[ -n $dead_letters ]] || return 0
  aws_read cloudwatch describe-alarms-for-metric --namespace AWS/SQS --metric-name NumberOfMessagesSent \
    --dimensions "Name=QueueName,Value=$dead_letters"
  mapfile -t rollback_alarms < <(answered '.MetricAlarms[]?.AlarmName')
}

# check_alarms: they have to exist, and not to ring already, for AWS would roll back at once.
check_alarms() {
  ((${#rollback_alarms[@]})) || {
    say "no alarm watches this deployment: ROLLBACK_ALARMS names those that should"
    return 0
  }
  say "alarms that roll it back: ${rollback_alarms[*]}"
  aws_read cloudwatch describe-alarms --alarm-types MetricAlarm CompositeAlarm --alarm-names "${rollback_alarms[@]}"
  local name state
  for name in "${rollback_alarms[@]}"; do
    state=$(answered --arg name "$name" '[.MetricAlarms[]?, .CompositeAlarms[]? | select(.AlarmName == $name)][0].StateValue // ""')
    case $state in
      '') die "there is no alarm $name: correct ROLLBACK_ALARMS" ;;
      ALARM) die "alarm $name rings already, AWS would roll back at once: mend that first, or deploy with --without-alarms if this image is what mends it" ;;
    esac
  done
}

# find_queue: the queue that the new instances will read, from SQS_QUEUE_URL or the user data they start with.
find_queue() {
  queue_url=${SQS_QUEUE_URL:-}
  [[ -z $queue_url ]] || return 0
  local user_data
  user_data=$(mktemp)
  jq -r '.UserData // ""' <<<"$version_data" | base64 -d >"$user_data" 2>/dev/null || true
  # User data may be compressed, and a part of it encoded once more.
  { gzip -dc <"$user_data" 2>/dev/null || cat "$user_data"; } >"$user_data.text"
  awk '/^Content-Transfer-Encoding: base64/ { head = 1 }
    head && /^\r?$/ { head = 0; body = 1; next }
    /^--/ { body = 0 }
    body' "$user_data.text" | base64 -di >"$user_data.part" 2>/dev/null || true
  queue_url=$(sed -n "s/.*SQS_QUEUE_URL[=:] *['\"]*\(https\{0,1\}:[^'\" \\\\]*\).*/\1/p" "$user_data.text" "$user_data.part" | tail -n 1)
  rm -f "$user_data"*
  [[ -n $queue_url ]] || die "the smoke test needs the queue, and the launch template's user data do not name it: export SQS_QUEUE_URL"
}

# see_instances GROUP VERSION: adds to new_instances those of the group that have the version.
see_instances() {
  read_group "$1" || return 0
  local id
  for id in $(of_group --arg v "$2" '.Instances[]? | select(.LaunchTemplate.Version == $v) | .InstanceId'); do
    [[ " ${new_instances[*]-} " == *" $id "* ]] || new_instances+=("$id")
  done
}

# smoke_test GROUP VERSION: sends messages until one of them was answered by an instance of that version. Every worker on
# the queue may take the message, also an old one: the log line's stream says who did. 1 when the time is over first.
smoke_test() {
  local started=$SECONDS since next_send=0 sent=0 stamp ids=() others=' '
  stamp="deploy-v$2-$(date -u +%Y%m%d%H%M%S)-$RANDOM"
  since=$(((EPOCHSECONDS - 60) * 1000)) # clocks differ
  say "smoke test: waiting up to $smoke_seconds s for an instance of version $2 to pass it"
  while ((SECONDS - started < smoke_seconds)); do
    if ((SECONDS >= next_send)); then
      sent=$((sent + 1))
      smoke_id=$(printf '%s-%03d' "$stamp" "$sent")
      ids+=("$smoke_id")
      aws_change sqs send-message --queue-url "$queue_url" \
        --message-body "$(jq -nc --arg id "$smoke_id" '{test: true, bucket: "test-bucket", key: "test.pdf", id: $id}')"
      next_send=$((SECONDS + smoke_again_seconds))
    fi
    see_instances "$1" "$2"
    read_smoke_lines "$since" "${ids[@]}"
    local kind id stream instance
    while read -r kind id stream; do
      [[ -n $kind && $others != *" $kind/$id/$stream "* ]] || continue
      instance=$(grep -oE '^i-[0-9a-f]+' <<<"$stream" || printf '%s' "$stream")
      if [[ $kind == passed && " ${new_instances[*]-} " == *" $instance "* ]]; then
        smoke_instance=$instance smoke_id=$id
        say "smoke test passed on $instance, id $id"
        return 0
      fi
      others+="$kind/$id/$stream "
      if [[ $kind == passed ]]; then
        say "$id was answered by $instance, which is not new; sending another"
        next_send=0
      else
        say "$id failed on $instance; it goes back to the queue"
      fi
    done <<<"$smoke_lines"
    sleep "$((poll_seconds < 5 ? poll_seconds : 5))"
  done
  say "no instance of version $2 passed the smoke test in $smoke_seconds s ($sent sent; see the log group $log_group)"
  return 1
}

# read_smoke_lines SINCE ID...: "passed|failed ID STREAM" a line into smoke_lines.
read_smoke_lines() {
  aws_try reading logs filter-log-events --log-group-name "$log_group" --start-time "$1" --filter-pattern '"smoke test"' || {
    grep -q ResourceNotFound <<<"$aws_error" && die "there is no log group $log_group: CLOUDWATCH_LOG_GROUP names it"
    aws_failed "$aws_error" logs filter-log-events
  }
  shift
  smoke_lines=$(answered '$ARGS.positional[] as $id | .events[]?
    | select(.message | test("smoke test (passed|failed) id=" + $id + "([^0-9A-Za-z-]|$)"))
    | (.message | capture("smoke test (?<kind>passed|failed) id=").kind) + " " + $id + " " + .logStreamName' --args "$@")
}

# show_last_lines GROUP SINCE: why launches failed, and the last log lines of the instances that were new. Helps a
# person; nothing of it may hide the failure that is being reported.
show_last_lines() {
  local instance stream
  if aws_try reading autoscaling describe-scaling-activities --auto-scaling-group-name "$1" --max-items 20; then
    answered --arg since "$2" '.Activities[]? | select(.StatusCode == "Failed" and .StartTime >= $since)
      | "launch or termination failed: " + .Description + " — " + (.StatusMessage // "")' >&2
    if ((${#new_instances[@]} == 0)); then
      mapfile -t new_instances < <(answered --arg since "$2" '[.Activities[]? | select(.StartTime >= $since) | .Description
        | capture("^Launching a new EC2 instance: (?<id>i-[0-9a-f]+)").id] | unique | .[]')
    fi
  fi
  for instance in ${new_instances[@]+"${new_instances[@]:0:5}"}; do
    say "last log lines of $instance:"
    aws_try reading logs describe-log-streams --log-group-name "$log_group" --log-stream-name-prefix "$instance" || continue
    local streams
    streams=$(answered '.logStreams[]?.logStreamName')
    [[ -n $streams ]] || say "  none arrived; its console: aws ec2 get-console-output --latest --instance-id $instance"
    for stream in $streams; do
      aws_try reading logs get-log-events --log-group-name "$log_group" --log-stream-name "$stream" --limit 15 || continue
      answered --arg stream "$stream" '.events[]? | "  " + $stream + "  " + (.message | rtrimstr("\n"))' >&2
    done
  done
}
