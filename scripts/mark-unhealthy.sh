#!/usr/bin/env bash
# Tells Auto Scaling that this instance is Unhealthy, so that the group replaces it. Runs on the instance, started by
# file-processor-worker-unhealthy.service once the worker has failed to start too often; by hand it replaces an
# instance at once, as terminating it would, but with the group's termination hook.
#   mark-unhealthy.sh [--dry-run]
#     --dry-run   only says which instance would be reported
#
# Exit codes: 0 reported, or the instance is in no group · 1 not reported, worth trying again · 2 wrong usage
# Permissions: autoscaling:SetInstanceHealth on the group.
# AWS_EC2_METADATA_SERVICE_ENDPOINT  the metadata service (default http://169.254.169.254)
set -euo pipefail

# Priorities that the journal understands at the beginning of a line.
say() { printf '<6>%s\n' "$*" >&2; }
die() {
  printf '<3>mark-unhealthy.sh: %s\n' "$*" >&2
  exit 1
}
show_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

dry_run=''
case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  --dry-run) dry_run=1 ;;
  '') ;;
  *)
    printf 'mark-unhealthy.sh: unknown argument %s, see --help\n' "$1" >&2
    exit 2
    ;;
esac

endpoint=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
endpoint=${endpoint%/}/latest

# metadata PATH: prints the value; fails when there is none. The token goes through a file descriptor: a command line
# can be read by everybody.
metadata() {
  curl -sf --noproxy '*' --connect-timeout 2 --max-time 5 --retry 3 \
    -H @<(printf 'X-aws-ec2-metadata-token: %s\n' "$token") "$endpoint/meta-data/$1"
}

token=$(curl -sf --noproxy '*' --connect-timeout 2 --max-time 5 --retry 3 -X PUT \
  -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$endpoint/api/token") ||
  die "the metadata service does not answer at $endpoint; is this an EC2 instance with IMDSv2?"
instance=$(metadata instance-id) || die "the metadata service does not say this instance's id"
region=$(metadata placement/region) || die "the metadata service does not say this instance's region"

# Only instances of a group have a target state.
if ! state=$(metadata autoscaling/target-lifecycle-state); then
  say "instance $instance is in no Auto Scaling group: nobody could replace it, nothing reported"
  exit 0
fi
if [[ -n $dry_run ]]; then
  say "would report instance $instance ($region, target state $state) as Unhealthy"
  exit 0
fi

# The grace period is for instances that may still become well. This one has tried often enough.
aws autoscaling set-instance-health --region "$region" --instance-id "$instance" --health-status Unhealthy \
  --no-should-respect-grace-period ||
  die "instance $instance could not be reported as Unhealthy, see above; its role needs autoscaling:SetInstanceHealth"
say "instance $instance reported as Unhealthy: its worker does not start, the group replaces it"
