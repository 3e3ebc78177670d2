# shellcheck shell=bash disable=SC2154  # bats sets output and status
# Loaded by the tests that use scripted-aws.

# shellcheck disable=SC2034  # for the tests
scripts=$BATS_TEST_DIRNAME/../../scripts

use_scripted_aws() {
  mkdir -p "$BATS_TEST_TMPDIR/bin" "$BATS_TEST_TMPDIR/scenario"
  ln -sf "$BATS_TEST_DIRNAME/support/scripted-aws" "$BATS_TEST_TMPDIR/bin/aws"
  export PATH=$BATS_TEST_TMPDIR/bin:$PATH
  export AWS_SCENARIO=$BATS_TEST_TMPDIR/scenario AWS_CALLS=$BATS_TEST_TMPDIR/calls
  export POLL_SECONDS=0 RETRY_SECONDS=0 RETRIES=3
  unset AWS_REGION AWS_DEFAULT_REGION SQS_QUEUE_URL ROLLBACK_ALARMS CLOUDWATCH_LOG_GROUP
  : >"$AWS_CALLS"
}

# answer OPERATION ANSWER...: adds answers, in order.
answer() {
  local operation=$1
  shift
  printf '%s\n' "$@" >>"$AWS_SCENARIO/$operation"
}

# always OPERATION ANSWER: replaces what was scripted by one answer that stays.
always() { printf 'always %s\n' "$2" >"$AWS_SCENARIO/$1"; }

# called PATTERN: whether a call matches the extended regular expression; count_calls says how many do.
called() { grep -Eq -- "$1" "$AWS_CALLS"; }
count_calls() { grep -Ec -- "$1" "$AWS_CALLS" || true; }

# Calls that change something; reading has other verbs.
changes() { grep -Ev '^[a-z0-9]+ (describe-|get-|filter-)' "$AWS_CALLS" || true; }

# For teardown: what a test did not expect, it has to know of. What it did is kept for real_cli_takes_every_call.
no_unexpected_call() {
  cat "$AWS_CALLS" >>"$BATS_FILE_TMPDIR/calls"
  [[ ! -e $AWS_CALLS.unexpected ]] && return
  echo "unexpected calls:"
  cat "$AWS_CALLS.unexpected"
  return 1
}

# A ! in front of a command would not fail a test.
not_called() {
  called "$1" || return 0
  echo "was called:"
  grep -E -- "$1" "$AWS_CALLS"
  return 1
}

# For the last test of a file: the calls of all tests before it.
real_cli_takes_every_call() {
  local python
  python=$(tool_awscli_python) || skip "$python"
  [ -s "$BATS_FILE_TMPDIR/calls" ] || skip 'no test made a call before this one'
  run env -u AWS_ENDPOINT_URL "$python" "$BATS_TEST_DIRNAME/support/check_calls.py" "$BATS_FILE_TMPDIR/calls"
  echo "$output"
  [ "$status" -eq 0 ]
}
