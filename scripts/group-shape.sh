#!/usr/bin/env bash
# Makes a second Auto Scaling group of the same shape as a first; sourced by blue-green-deploy.sh after deploy-steps.sh,
# never run. Everything is put by name, so that doing it again changes nothing.
#
# shellcheck disable=SC2016  # jq has variables of its own

colour_of() { case $1 in *-green) echo Green ;; *) echo Blue ;; esac }

# tag_group GROUP ACTIVE COLOUR: update-auto-scaling-group knows no tags. Not handed on: the instances do not change.
tag_group() {
  aws_change autoscaling create-or-update-tags --tags "$(jq -nc --arg group "$1" --arg active "$2" --arg colour "$3" '
    {ResourceId: $group, ResourceType: "auto-scaling-group", PropagateAtLaunch: false} as $tag
    | [$tag + {Key: "Active", Value: $active}, $tag + {Key: "Color", Value: $colour}]')"
}

# group_request GROUP NAME VERSION: what makes group NAME like the group that is shown as JSON.
group_request() {
  jq -c --arg name "$2" --argjson configuration "$(group=$1 configuration_with "$3")" '
    {AutoScalingGroupName: $name} + $configuration
    + {MinSize, MaxSize, DesiredCapacity, DefaultCooldown, HealthCheckType, HealthCheckGracePeriod, VPCZoneIdentifier,
       TerminationPolicies, NewInstancesProtectedFromScaleIn, MaxInstanceLifetime, CapacityRebalance,
       DefaultInstanceWarmup, InstanceMaintenancePolicy, ServiceLinkedRoleARN}
    | with_entries(select(.value != null and .value != ""))' <<<"$1"
}

# hook_specifications: of the last describe-lifecycle-hooks, as a request takes them.
hook_specifications() {
  answered -c '[.LifecycleHooks[] | {LifecycleHookName, LifecycleTransition, NotificationMetadata, HeartbeatTimeout,
    DefaultResult, NotificationTargetARN, RoleARN} | with_entries(select(.value != null and .value != ""))]'
}

# make_group GROUP NAME VERSION: GROUP as JSON. The hooks are part of the request that makes the group: there may be no
# instance without them.
make_group() {
  local request hooks hook from
  from=$(jq -r .AutoScalingGroupName <<<"$1")
  request=$(group_request "$1" "$2" "$3")
  aws_read autoscaling describe-lifecycle-hooks --auto-scaling-group-name "$from"
  hooks=$(hook_specifications)
  [[ $(jq '[.[] | select(.LifecycleTransition == "autoscaling:EC2_INSTANCE_LAUNCHING")] | length' <<<"$hooks") != 0 ]] ||
    say "$from has no launch hook: an instance counts as in service before its worker is READY; the smoke test decides"
  if read_group "$2"; then
    for hook in $(jq -r '.[] | @base64' <<<"$hooks"); do
      hook=$(base64 -d <<<"$hook" | jq -c --arg name "$2" '. + {AutoScalingGroupName: $name}')
      aws_change autoscaling put-lifecycle-hook --cli-input-json "$hook"
    done
    aws_change autoscaling update-auto-scaling-group --cli-input-json "$request"
  else
    request=$(jq -c --argjson hooks "$hooks" --argjson from "$1" --arg name "$2" '
      . + {LifecycleHookSpecificationList: $hooks, Tags: [$from.Tags[]?
        | select((.Key | startswith("aws:") | not) and .Key != "Active" and .Key != "Color")
        | {Key, Value, PropagateAtLaunch, ResourceType, ResourceId: $name}]}' <<<"$request")
    aws_change autoscaling create-auto-scaling-group --cli-input-json "$request"
    tag_group "$2" false "$(colour_of "$2")"
  fi
  copy_metrics "$1" "$2"
}

copy_metrics() {
  local metrics
  mapfile -t metrics < <(jq -r '.EnabledMetrics[]?.Metric' <<<"$1")
  ((${#metrics[@]})) || return 0
  aws_change autoscaling enable-metrics-collection --auto-scaling-group-name "$2" --granularity 1Minute --metrics "${metrics[@]}"
}

# copy_scaling FROM TO: policies, the alarms that call them or watch the group, and schedules. Where one speaks of the
# group FROM, the copy speaks of TO. Alarms of target tracking are AWS's own affair.
copy_scaling() {
  aws_read autoscaling describe-policies --auto-scaling-group-name "$1"
  local policies policy arns='{}'
  policies=$(answered -c '.ScalingPolicies[]?')
  while read -r policy; do
    [[ -n $policy ]] || continue
    aws_change autoscaling put-scaling-policy --cli-input-json "$(renamed "$1" "$2" "$policy" | jq -c --arg name "$2" '
      {AutoScalingGroupName: $name, PolicyName, PolicyType, AdjustmentType, MinAdjustmentStep, MinAdjustmentMagnitude,
       ScalingAdjustment, Cooldown, MetricAggregationType, StepAdjustments, EstimatedInstanceWarmup,
       TargetTrackingConfiguration, PredictiveScalingConfiguration, Enabled}
      | with_entries(select(.value != null and .value != "" and .value != []))')"
    arns=$(jq -c --arg old "$(jq -r .PolicyARN <<<"$policy")" --arg new "$(answered '.PolicyARN // "NEW"')" '. + {($old): $new}' <<<"$arns")
  done <<<"$policies"
  copy_alarms "$1" "$2" "$arns"
  copy_schedules "$1" "$2"
}

# renamed FROM TO JSON: every text that is the group's name.
renamed() { jq -c --arg from "$1" --arg to "$2" '(.. | strings | select(. == $from)) |= $to' <<<"$3"; }

# copy_alarms FROM TO ARNS: ARNS is the policies' old and new names. The copies are called as the originals and -green.
copy_alarms() {
  aws_read cloudwatch describe-alarms --alarm-types MetricAlarm
  local alarms alarm name
  alarms=$(answered -c --arg from "$1" --argjson arns "$3" '.MetricAlarms[]?
    | select((.AlarmName | startswith("TargetTracking-") | not)
        and (([.. | objects | select(.Name? == "AutoScalingGroupName").Value] | index($from))
          or (.AlarmActions // [] | any($arns[.]))))')
  while read -r alarm; do
    [[ -n $alarm ]] || continue
    name=$(jq -r .AlarmName <<<"$alarm")
    name=${name%-green}
    [[ $2 != *-green ]] || name=$name-green
    aws_change cloudwatch put-metric-alarm --cli-input-json "$(renamed "$1" "$2" "$alarm" | jq -c --arg name "$name" --argjson arns "$3" '
      {AlarmName: $name, AlarmDescription, ActionsEnabled, OKActions, AlarmActions, InsufficientDataActions, MetricName,
       Namespace, Statistic, ExtendedStatistic, Dimensions, Period, Unit, EvaluationPeriods, DatapointsToAlarm, Threshold,
       ComparisonOperator, TreatMissingData, EvaluateLowSampleCountPercentile, Metrics, ThresholdMetricId}
      | (.OKActions, .AlarmActions, .InsufficientDataActions) |= (. // [] | map($arns[.] // .))
      | with_entries(select(.value != null and .value != "" and .value != []))')"
  done <<<"$alarms"
}

copy_schedules() {
  aws_read autoscaling describe-scheduled-actions --auto-scaling-group-name "$1"
  local schedules schedule
  schedules=$(answered -c '.ScheduledUpdateGroupActions[]?')
  while read -r schedule; do
    [[ -n $schedule ]] || continue
    # The next start is what AWS made of the recurrence; given back it would only run late.
    aws_change autoscaling put-scheduled-update-group-action --cli-input-json "$(jq -c --arg name "$2" '
      {AutoScalingGroupName: $name, ScheduledActionName, Recurrence, TimeZone, MinSize, MaxSize, DesiredCapacity, EndTime,
       StartTime: (if .Recurrence then null else .StartTime end)}
      | with_entries(select(.value != null and .value != ""))' <<<"$schedule")"
  done <<<"$schedules"
}
