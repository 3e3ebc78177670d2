#!/bin/bash
# An aws for the tests of user data. $world/parameter is what the SSM parameter holds; $world/refusal is what lifecycle
# calls are refused with.
set -u
: "${calls:?}" "${world:?}"
printf 'aws %s\n' "$*" >>"$calls"
case "$1 $2" in
  "ssm get-parameter")
    [[ -f $world/parameter ]] || { echo "An error occurred (ParameterNotFound)" >&2 && exit 254; }
    cat "$world/parameter"
    ;;
  "autoscaling complete-lifecycle-action")
    [[ ! -f $world/refusal ]] || { cat "$world/refusal" >&2 && exit 254; }
    ;;
  *)
    echo "scripted aws: unexpected: $*" >&2
    exit 97
    ;;
esac
