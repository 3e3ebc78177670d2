#!/usr/bin/env bash
# Shows what the worker does, on this machine alone. Installs what is missing and builds; the first run takes long.
#   demo.sh               reads a few sample files, a Japanese scan among them, and searches words that only it has
#   demo.sh DIR           reads your own folder instead; all that is written goes to DIR/.file-processor
#   demo.sh --servers     the samples the way of production: real SQS, S3 and OpenSearch servers on 127.0.0.1
#
# CARGO_TARGET_DIR  where cargo builds (default: the user cache)
# With --servers: SQS_PORT, S3_PORT, OPENSEARCH_PORT, STATUS_PORT   ports (default 19324, 17070, 19200, 19464)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

samples=$repo_dir/tests/fixtures/samples
scan='1987_道路橋定期点検報告書.pdf'
worker=$(cargo_target_dir)/release/file-processor-worker

title() { printf '\n== %s\n' "$*"; }

# show COMMAND...: as a user would type it. (%q would turn Japanese into octal.)
show() {
  local word
  printf '$'
  for word in "$@"; do
    [[ $word != *[[:space:]]* ]] || word="'$word'"
    printf ' %s' "$word"
  done
  printf '\n'
}

build() {
  title 'Building'
  ensure_system_packages
  ensure_rust
  ensure_pdfium
  use_engine
  (cd "$repo_dir" && CARGO_TARGET_DIR=$(cargo_target_dir) cargo build --release --locked)
}

# run ARGUMENTS...: the worker, after showing the command that a user would type.
run() {
  show file-processor-worker "$@"
  "$worker" "$@"
}

demo_local() {
  local folder=$1 index
  index=$folder/.file-processor/index
  title "Reading $folder"
  run local "$folder"

  if [[ -z $is_sample ]]; then
    title 'Now search it'
    show "$worker" search WORDS --index "$index"
    return
  fi
  # 洗掘 (scour) and 遊離石灰 (free lime) stand in the scan of 1987 alone, as pixels.
  local found query
  for query in 洗掘 遊離石灰 'jacks grout'; do
    title "Searching $query"
    found=$(run search "$query" --index "$index")
    printf '%s\n' "$found"
    [[ $query != 洗掘 || $found == *"$scan"* ]] ||
      die "the scan $scan was not found by a word in it; look at what '$worker extract' says about it"
  done
  title 'Go on'
  printf '%s\n' "Your own folder:    $0 DIR" "The whole way:      $0 --servers" "The binary:         $worker" \
    "The samples:        $folder (yours to delete)"
}

# The search application's query, as production sends it.
search_index() {
  curl -sS --fail-with-body --noproxy '*' -H 'Content-Type: application/json' \
    "$OPENSEARCH_ENDPOINT/$OPENSEARCH_INDEX/_search" -d @- <<JSON
{
  "query": { "bool": {
    "must": [ { "multi_match": { "query": "$1", "fields": ["file_name^3", "file_path^2", "extracted_text"], "operator": "and" } } ],
    "filter": [ { "terms": { "file_extension": [".pdf", "pdf"] } } ]
  } },
  "sort": [ "_score", { "modified_at": "desc" } ],
  "_source": ["file_name", "nas_path", "category_display", "outcome", "page_count", "pages_ocr", "ocr_confidence"],
  "highlight": { "fields": {
    "extracted_text": { "fragment_size": 150, "number_of_fragments": 3 }, "file_name": {}, "file_path": {}
  } }
}
JSON
}

wait_until_ready() {
  local deadline=$((SECONDS + 60))
  until curl -sf --noproxy '*' -o /dev/null "http://$STATUS_ADDRESS/readyz"; do
    if ! kill -0 "$worker_pid" 2>/dev/null || ((SECONDS >= deadline)); then
      cat "$folder/worker.log" >&2
      die "the worker did not become ready; its log is above"
    fi
    sleep 0.2
  done
}

stop_demo() {
  [[ -z ${worker_pid:-} ]] || kill "$worker_pid" 2>/dev/null || true
  "$scripts_dir/testbed/down.sh"
}

demo_servers() {
  ensure_packages jq
  # Ports and data of its own: a test run beside it isn't disturbed.
  export SQS_PORT=${SQS_PORT:-19324} S3_PORT=${S3_PORT:-17070} OPENSEARCH_PORT=${OPENSEARCH_PORT:-19200}
  export TESTBED_RUN=$cache_dir/testbed/demo
  local aws=$scripts_dir/testbed/aws.py started
  folder=$(mktemp -d -t file-processor-demo.XXXXXX)

  title 'Starting SQS, S3 and OpenSearch'
  trap stop_demo EXIT
  started=$("$scripts_dir/testbed/up.sh")
  # Settings of the user's own shell must not lead out of here.
  unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL DLQ_QUEUE_URL OPENSEARCH_USERNAME OPENSEARCH_PASSWORD LOG_FILE
  set -a
  eval "$started"
  set +a
  export AWS_ENDPOINT_URL_SQS=$TESTBED_SQS_ENDPOINT AWS_ENDPOINT_URL_S3=$TESTBED_S3_ENDPOINT
  SQS_QUEUE_URL=$("$aws" create-queue file-processing --dlq file-processing-dlq --visibility 600)
  export SQS_QUEUE_URL S3_BUCKET=demo-files S3_THUMBNAIL_BUCKET=demo-thumbnails
  export OPENSEARCH_ENDPOINT=$TESTBED_OPENSEARCH_ENDPOINT OPENSEARCH_INDEX=demo-files
  export STATUS_ADDRESS=127.0.0.1:${STATUS_PORT:-19464} TEMP_DIR=$folder/spool
  mkdir -p "$TEMP_DIR"
  "$aws" create-bucket "$S3_BUCKET"
  "$aws" create-bucket "$S3_THUMBNAIL_BUCKET"
  printf '%s\n' "$started"

  title 'Creating the index and starting the worker'
  run --create-index
  show file-processor-worker
  "$worker" >"$folder/worker.log" 2>&1 &
  worker_pid=$!
  wait_until_ready

  title 'Uploading the samples, a message for each'
  local file key
  while IFS= read -r -d '' file; do
    key=${file#"$samples/"}
    "$aws" put-object "$S3_BUCKET" "$key" "$file"
    "$aws" notify "$SQS_QUEUE_URL" "$S3_BUCKET" "$key" "$file"
    printf '%s\n' "$key"
  done < <(find "$samples" -type f -print0 | sort -z)

  title 'Waiting until the queue is empty'
  "$aws" wait-drained "$SQS_QUEUE_URL" 300 || {
    tail -n 30 "$folder/worker.log" >&2
    die "the worker did not finish; the end of its log is above"
  }
  curl -sSf --noproxy '*' -o /dev/null -X POST "$OPENSEARCH_ENDPOINT/$OPENSEARCH_INDEX/_refresh"
  curl -sSf --noproxy '*' "$OPENSEARCH_ENDPOINT/$OPENSEARCH_INDEX/_search?size=100&_source=outcome,reason,file_name" |
    jq -r '.hits.hits[]._source | [.outcome, .reason // "-", .file_name] | @tsv' | sort

  title 'What the search application finds for 洗掘, a word in the scan of 1987 alone'
  local found
  found=$(search_index 洗掘)
  jq '.hits.hits[] | ._source + { highlight }' <<<"$found"
  jq -e --arg scan "$scan" 'any(.hits.hits[]; ._source.file_name == $scan)' <<<"$found" >/dev/null ||
    die "the scan $scan was not found by a word in it; its way is in $folder/worker.log"

  title 'Stopping the worker'
  kill -TERM "$worker_pid"
  local status=0
  wait "$worker_pid" || status=$?
  worker_pid=''
  ((status == 0)) || die "the worker left with $status after SIGTERM; its log is $folder/worker.log"
  printf '%s\n' "It drained and left with 0. Its log: $folder/worker.log"
}

folder='' servers='' is_sample=''
case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  --servers) servers=1 ;;
  -*) die "unknown option $1, see --help" ;;
  '') ;;
  *)
    [[ -d $1 ]] || die "$1 is not a folder"
    folder=$(realpath "$1")
    ;;
esac
(($# <= 1)) || die "one argument at most, see --help"

build
if [[ -n $servers ]]; then
  demo_servers
  exit
fi
if [[ -z $folder ]]; then
  is_sample=1
  folder=$(mktemp -d -t file-processor-demo.XXXXXX)
  cp -r "$samples/." "$folder"
fi
demo_local "$folder"
