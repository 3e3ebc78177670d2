# Real queue, store and index, and a place of one's own in them.

aws_py() { "$REPO_DIR/scripts/testbed/aws.py" "$@"; }

# use_servers: starts what does not run yet and exports where it is.
use_servers() {
  local variables
  variables=$("$REPO_DIR/scripts/testbed/up.sh") || return 1
  unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL
  set -a
  eval "$variables"
  set +a
  export AWS_ENDPOINT_URL_SQS=$TESTBED_SQS_ENDPOINT AWS_ENDPOINT_URL_S3=$TESTBED_S3_ENDPOINT
}

# make_world NAME: a queue with its dead-letter queue, two buckets and an index. Prints the environment file of a worker on
# it; more lines may be added.
make_world() {
  local name queue_url
  name=$1-$$-$RANDOM
  queue_url=$(aws_py create-queue "$name" --dlq "$name-dlq" --visibility 600) || return 1
  aws_py create-bucket "$name" >&2 && aws_py create-bucket "$name-thumbnails" >&2 || return 1
  cat <<ENV
SQS_QUEUE_URL="$queue_url"
S3_BUCKET="$name"
S3_THUMBNAIL_BUCKET="$name-thumbnails"
OPENSEARCH_ENDPOINT="$TESTBED_OPENSEARCH_ENDPOINT"
OPENSEARCH_INDEX="$name"
AWS_REGION="$AWS_REGION"
AWS_ACCESS_KEY_ID="$AWS_ACCESS_KEY_ID"
AWS_SECRET_ACCESS_KEY="$AWS_SECRET_ACCESS_KEY"
AWS_ENDPOINT_URL_SQS="$TESTBED_SQS_ENDPOINT"
AWS_ENDPOINT_URL_S3="$TESTBED_S3_ENDPOINT"
AWS_EC2_METADATA_DISABLED="true"
SQS_WAIT_TIME="1"
MAX_WORKERS="1"
STATUS_ADDRESS=""
ENV
}

# variable FILE NAME: a value out of an environment file of ours.
variable() { sed -n "s/^$2=\"\(.*\)\"$/\1/p" "$1" | tail -n 1; }
