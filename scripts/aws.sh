#!/usr/bin/env bash
# Shared by the scripts that operators run against AWS; sourced, never run. Needs the aws CLI (1 or 2) and jq.
#
# AWS_REGION       region of every call; otherwise AWS_DEFAULT_REGION or the CLI's own configuration decides
# POLL_SECONDS     seconds between two looks while waiting (default 15)
# RETRY_SECONDS    seconds before the first retry of a throttled call; doubles each time, up to 60 (default 2)
# RETRIES          how often a throttled call is tried again (default 8)
set -euo pipefail

poll_seconds=${POLL_SECONDS:-15}
retry_seconds=${RETRY_SECONDS:-2}
retries=${RETRIES:-8}
dry_run=${dry_run:-}
# A script that may stop half-way says here how it is gone on with.
resume_hint=''

# What the CLI would show in a pager is read by nobody.
export AWS_PAGER=''
# Version 1 of the CLI reads only the second name.
if [[ -n ${AWS_REGION:-} ]]; then export AWS_DEFAULT_REGION=$AWS_REGION; fi

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}
usage_error() {
  say "$(basename "$0"): $*; see --help"
  exit 2
}

# The comment that opens the calling script is its manual.
show_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

require_tools() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || die "$tool is missing: install it (Debian: apt-get install ${tool/#aws/awscli}), then run this again"
  done
}

# argument OPTION COUNT: an option whose value is missing is wrong usage.
argument() { (($2 >= 2)) || usage_error "$1 needs a value"; }

is_throttled() {
  grep -Eq 'Throttl|RequestLimitExceeded|TooManyRequests|Rate exceeded|SlowDown|ServiceUnavailable|Service Unavailable|InternalError|InternalFailure' <<<"$1"
}

is_unreachable() {
  grep -Eq 'Could not connect to the endpoint|Connect timeout|Read timeout|Connection was closed|Connection reset|Connection aborted|Name or service not known|Temporary failure in name resolution' <<<"$1"
}

is_credentials_trouble() {
  grep -Eq 'ExpiredToken|RequestExpired|[Tt]oken (has|is) expired|Token for .* does not exist|SSO session .* (expired|invalid)|Unable to locate credentials|InvalidClientTokenId|UnrecognizedClient|AuthFailure|SignatureDoesNotMatch|Error loading SSO' <<<"$1"
}

# aws_failed NOTE CALL...: says why a call failed and ends the script.
aws_failed() {
  local message=$1 call="aws $2 ${3:-}"
  message=$(grep -v '^[[:space:]]*$' <<<"$message" | tail -n 3 || true)
  if is_credentials_trouble "$message"; then
    say "$message"
    die "AWS does not accept the credentials (missing or expired): log in again (such as aws sso login), then run the same command.${resume_hint:+ $resume_hint}"
  fi
  if grep -q 'must specify a region' <<<"$message"; then
    die "no region is set: export AWS_REGION, such as ap-northeast-1"
  fi
  die "$call failed: $message${resume_hint:+ — $resume_hint}"
}

# Where the last failed call's message is for aws_try's callers.
aws_error=''

# aws_try MAY_REPEAT ARGUMENTS...: one call of the CLI with patience. The answer is in aws_answer, the message of a
# failure in aws_error. A throttled request was not carried out and is always tried again; one that was lost on the way
# only when MAY_REPEAT is "reading".
aws_try() {
  local kind=$1 attempt=0 pause=$retry_seconds status errors
  shift
  errors=$(mktemp)
  while :; do
    status=0
    aws_answer=$(aws "$@" --output json --cli-connect-timeout 10 --cli-read-timeout 60 2>"$errors") || status=$?
    aws_error=$(<"$errors")
    if ((status == 0)); then
      rm -f "$errors"
      return 0
    fi
    if ! is_throttled "$aws_error" && ! { [[ $kind == reading ]] && is_unreachable "$aws_error"; }; then break; fi
    ((++attempt <= retries)) || break
    say "aws $1 $2: $(grep -v '^[[:space:]]*$' <<<"$aws_error" | tail -n 1); trying again in $pause s ($attempt of $retries)"
    sleep "$pause"
    pause=$((pause * 2 > 60 ? 60 : pause * 2))
  done
  rm -f "$errors"
  return "$status"
}

# aws_read ARGUMENTS...: a call that changes nothing; its JSON goes to aws_answer. Ends the script when it fails.
aws_read() { aws_try reading "$@" || aws_failed "$aws_error" "$@"; }

# aws_change ARGUMENTS...: a call that changes something. With --dry-run it is only said; aws_answer is then {}.
aws_change() {
  if [[ -n $dry_run ]]; then
    say "would run: aws$(printf ' %q' "$@")"
    aws_answer='{}'
    return 0
  fi
  aws_try changing "$@" || aws_failed "$aws_error" "$@"
}

# answered FILTER [JQ ARGUMENTS...]: a part of the last answer, as text.
answered() { jq -r "$@" <<<"${aws_answer:-null}"; }

# wait_until SECONDS COMMAND...: looks again until COMMAND succeeds; 1 when the time is over first. COMMAND runs in this
# shell, so that it may set variables and end the script.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep "$poll_seconds"
  done
}

clock() { date -u +%H:%M:%SZ; }
