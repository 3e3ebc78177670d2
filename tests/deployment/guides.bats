# The operators' guides and README's section "Deploy": whatever they tell people to type exists and is understood.
# support/guides.py takes the commands out of them.
# shellcheck disable=SC2154  # bats sets output and status
bats_require_minimum_version 1.5.0

load support/deploy-tools

setup_file() {
  repo=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  export repo guides=$repo/tests/deployment/support/guides.py
  export english=$repo/packaging/OPERATIONS.md japanese=$repo/packaging/OPERATIONS.ja.md readme=$repo/README.md
  command -v jq >/dev/null || {
    echo "jq is missing: install it, the guides' own commands need it" >&2
    return 1
  }
  # What the documents say and the programs know, asked once.
  export known=$BATS_FILE_TMPDIR/known
  mkdir -p "$known"
  local document what
  while read -r document; do
    for what in blocks commands names code; do
      python3 "$guides" "$what" "$document" >"$known/$what-${document##*/}"
    done
  done < <(documents)
  if [[ -x ${WORKER_BINARY:-} ]]; then
    "$WORKER_BINARY" --help >"$known/worker"
    local command
    for command in extract local search smoke-test doctor config; do
      "$WORKER_BINARY" "$command" --help >"$known/worker-$command"
    done
  fi
}

# All documents, one a line.
documents() { printf '%s\n' "$english" "$japanese" "$readme"; }

# complain_about FILE: fails and shows it when it is not empty.
nothing_in() {
  [[ ! -s $1 ]] || {
    cat "$1"
    return 1
  }
}

# taken WHAT FILE: what support/guides.py takes out of the document.
taken() { cat "$known/$1-${2##*/}"; }

# words_of FILE: the commands, a line each, words separated by tabs.
words_of() { taken commands "$1" | jq -r '.[] | map(gsub("[\t\n]"; " ")) | join("\t")'; }

code_spans() { taken code "$1" | jq -r '.[]'; }

# script_behind WORD: the file in scripts/ that a command of that name is, or fails.
script_behind() {
  case $1 in
    /app/scripts/*.sh | /usr/local/bin/*.sh | scripts/*.sh | *.sh) printf '%s\n' "$repo/scripts/${1##*/}" ;;
    *) return 1 ;;
  esac
}

# knows HELP_FILE OPTION
knows() { grep -qE -- "(^|[^-[:alnum:]])$2([^-[:alnum:]]|\$)" "$1"; }

@test "each document has command blocks, and each of them is bash without a finding of shellcheck" {
  local document number=0 block file
  while read -r document; do
    taken blocks "$document" | jq -e 'length > 0' >/dev/null || {
      echo "$document has no bash block"
      return 1
    }
    while IFS= read -r block; do
      number=$((number + 1)) file=$BATS_TEST_TMPDIR/block-$number.sh
      jq -r . <<<"$block" >"$file"
      bash -n "$file" || {
        cat "$file"
        return 1
      }
    done < <(taken blocks "$document" | jq -c '.[]')
  done < <(documents)
  # SC2034: what one block sets, a later one reads.
  shellcheck --shell=bash --severity=warning --exclude=SC2034 "$BATS_TEST_TMPDIR"/block-*.sh
}

@test "every fence is closed, and every command block is marked as bash" {
  local document
  while read -r document; do
    awk '/^```/ { if (open && $0 != "```") { print FILENAME ": " $0; bad = 1 } open = !open } END { exit bad || open }' "$document"
  done < <(documents)
  run ! grep -n '^```$' <(awk '/^```/ { if (!open) print; open = !open }' "$english" "$japanese")
}

@test "the Japanese guide has the same commands in the same order, and as many sections and rows" {
  diff <(taken blocks "$english" | jq -r '.[]') <(taken blocks "$japanese" | jq -r '.[]')
  diff <(grep -oE '^#+ ' "$english") <(grep -oE '^#+ ' "$japanese")
  diff <(grep -c '^|' "$english") <(grep -c '^|' "$japanese")
}

@test "the table of capacity says the same in both languages" {
  figures() { awk '/^## / { inside = /Capacity|容量/ } inside && /^\|/ && /[0-9] \//' "$1" | grep -oE '[0-9][0-9.,]*' || true; }
  [[ -n $(figures "$english") ]]
  diff <(figures "$english") <(figures "$japanese")
}

@test "every script exists and knows every option that it is given" {
  local document line script words word problems=$BATS_TEST_TMPDIR/problems
  : >"$problems"
  while read -r document; do
    while IFS=$'\t' read -ra words; do
      script=$(script_behind "${words[0]}") || continue
      if [[ ! -f $script ]]; then
        echo "${document##*/}: ${words[0]}: there is no $script" >>"$problems"
        continue
      fi
      bash "$script" --help >"$BATS_TEST_TMPDIR/help" </dev/null
      for word in "${words[@]:1}"; do
        if [[ $word == --* ]] && ! knows "$BATS_TEST_TMPDIR/help" "${word%%=*}"; then
          echo "${document##*/}: ${words[0]} has no option $word" >>"$problems"
        fi
      done
    done < <(words_of "$document")
    while read -r line; do
      script=$(grep -oE '[a-z0-9-]+\.sh' <<<"$line" | head -n 1) || continue
      [[ -f $repo/scripts/$script ]] || echo "${document##*/}: \`$line\`: no scripts/$script" >>"$problems"
      if [[ -f $repo/scripts/$script ]]; then
        bash "$repo/scripts/$script" --help >"$BATS_TEST_TMPDIR/help" </dev/null
        while read -r word; do
          knows "$BATS_TEST_TMPDIR/help" "$word" || echo "${document##*/}: \`$line\`: no option $word" >>"$problems"
        done < <(grep -oE -- '--[a-z][a-z-]*' <<<"$line")
      fi
    done < <(code_spans "$document" | grep -E '\.sh( |$)')
  done < <(documents)
  nothing_in "$problems"
}

@test "the worker has every command and option that it is asked for" {
  [[ -s $known/worker ]] || skip "WORKER_BINARY names no worker"
  local document words help word count=0 problems=$BATS_TEST_TMPDIR/problems
  : >"$problems"
  while read -r document; do
    while IFS=$'\t' read -ra words; do
      [[ ${words[0]} == file-processor-worker ]] || continue
      count=$((count + 1)) help=$known/worker
      if [[ -n ${words[1]:-} && ${words[1]} != -* ]]; then help=$known/worker-${words[1]}; fi
      if [[ ! -s $help ]]; then
        echo "${document##*/}: no command ${words[1]}" >>"$problems"
        continue
      fi
      for word in "${words[@]:1}"; do
        if [[ $word == --* ]] && ! knows "$help" "$word"; then
          echo "${document##*/}: ${words[*]}: no option $word" >>"$problems"
        fi
      done
    done < <(
      words_of "$document"
      code_spans "$document" | grep '^file-processor-worker ' | tr ' ' '\t'
    )
  done < <(documents)
  ((count > 10))
  nothing_in "$problems"
}

@test "every variable that a block reads was set by a block before it" {
  local document
  while read -r document; do
    taken names "$document" | jq -r '.[] | select(.[1] | not) | .[0]' | sort -u |
      grep -vxE 'EDITOR' >>"$BATS_TEST_TMPDIR/problems" || true
  done < <(printf '%s\n' "$english" "$japanese")
  nothing_in "$BATS_TEST_TMPDIR/problems"
}

@test "every variable in the text is one of the worker, of a script, or of the environment that they share" {
  [[ -s $known/worker-config ]] || skip "WORKER_BINARY names no worker"
  local document name
  : >"$BATS_TEST_TMPDIR/problems"
  while read -r document; do
    # Words of AWS and of the operating system are written with capitals, too.
    for name in $(code_spans "$document" | grep -oE '\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\b' | sort -u); do
      grep -qw -- "$name" "$known/worker-config" && continue
      grep -rqw --include='*.sh' -- "$name" "$repo/scripts" && continue
      echo "${document##*/}: $name is nobody's" >>"$BATS_TEST_TMPDIR/problems"
    done
  done < <(documents)
  nothing_in "$BATS_TEST_TMPDIR/problems"
}

@test "every metric of ours that guides, dashboard and alarms name is one that worker, agent or Terraform makes" {
  local name
  {
    sed -n 's|^//! \* `\([A-Za-z]*\)`:.*|\1|p' "$repo/src/health/emf.rs"
    jq -r '.metrics.metrics_collected[].measurement[].rename' "$repo/packaging/host/amazon-cloudwatch-agent.json"
    sed -n '/metric_transformation {/,/}/s/^ *name *= "\(.*\)"/\1/p' "$repo"/packaging/terraform/*.tf
  } >"$BATS_TEST_TMPDIR/made"
  {
    words_of "$english" | grep -P '\t--namespace\tFileProcessor' | grep -oP '\t--metric-name\t\K\w+'
    grep -oP 'worker_search, "\K\w+' "$repo/packaging/terraform/dashboard.tf"
    grep -oP '\["FileProcessor(/Worker)?", "\K\w+' "$repo/packaging/terraform/dashboard.tf"
    code_spans "$english" | grep -xE 'Processing[A-Z][a-z]+'
  } >"$BATS_TEST_TMPDIR/named"
  (($(wc -l <"$BATS_TEST_TMPDIR/named") >= 6))
  for name in $(sort -u "$BATS_TEST_TMPDIR/named"); do
    grep -qxF -- "$name" "$BATS_TEST_TMPDIR/made" || echo "nobody makes the metric $name" >>"$BATS_TEST_TMPDIR/problems"
  done
  nothing_in "$BATS_TEST_TMPDIR/problems"
}

@test "what the guides ask of the worker's own port is answered there" {
  local path
  grep -qF "\"STATUS_ADDRESS\", Kind::Address, Value(\"127.0.0.1:9464\")" "$repo/src/config/variables.rs"
  for path in $(taken blocks "$english" | grep -oE 'http://127.0.0.1:9464/[a-z]+' | sort -u | sed 's|.*9464||'); do
    grep -qF ".route(\"$path\"" "$repo/src/health/http.rs" || echo "the worker has no $path" >>"$BATS_TEST_TMPDIR/problems"
  done
  nothing_in "$BATS_TEST_TMPDIR/problems"
}

@test "every unit, and every path of an instance, is made by the package, the unit or user data" {
  local document place
  : >"$BATS_TEST_TMPDIR/problems"
  while read -r document; do
    for place in $({
      taken blocks "$document" | jq -r '.[]'
      code_spans "$document"
    } | grep -oE '(file-processor-worker[a-z-]*\.(service|timer)|/(app|usr/local|etc/file-processor|var/log|var/cache)/[A-Za-z0-9._/-]+)' |
      sort -u); do
      case $place in
        *.service | *.timer) [[ -f $repo/systemd/${place##*/} ]] && continue ;;
        /app/scripts/*) [[ -f $repo/scripts/${place##*/} ]] && continue ;;
        *)
          # The unit writes folders by systemd's specifiers: %L is /var/log.
          grep -rqF -e "$place" "$repo/systemd" "$repo/packaging/host" "$repo/packaging/rpm" "$repo/packaging/terraform" \
            "$repo/scripts/user-data.sh" "$repo/scripts/start-worker.sh" && continue
          grep -qF -e "=${place#/var/cache/}" -e "%L/${place#/var/log/}" "$repo/systemd/file-processor-worker.service" && continue
          ;;
      esac
      echo "${document##*/}: nothing makes $place" >>"$BATS_TEST_TMPDIR/problems"
    done
  done < <(documents)
  nothing_in "$BATS_TEST_TMPDIR/problems"
}

@test "Terraform has every output, variable and file that is named" {
  local document name terraform=$repo/packaging/terraform
  [[ -d $terraform ]]
  : >"$BATS_TEST_TMPDIR/problems"
  while read -r document; do
    for name in $({
      words_of "$document" | grep -P '^terraform\t.*\toutput' | awk -F '\t' '{ print $NF }'
      code_spans "$document" | sed -n 's/^terraform output //p'
    }); do
      grep -q "^output \"$name\"" "$terraform"/*.tf || echo "${document##*/}: no output $name" >>"$BATS_TEST_TMPDIR/problems"
    done
    for name in $(code_spans "$document" | grep -xE '[a-z]+(_[a-z]+)+' | sort -u); do
      grep -qE "^variable \"$name\"" "$terraform"/*.tf && continue
      # Reasons of documents have the same shape.
      grep -rqi -- "$(tr -d _ <<<"$name")" "$repo/src/document/outcome.rs" && continue
      echo "${document##*/}: $name is no variable of Terraform" >>"$BATS_TEST_TMPDIR/problems"
    done
    for name in $(code_spans "$document" | grep -xE '[a-z/-]+\.tf(vars)?' | sort -u); do
      [[ -f $repo/$name || -f $terraform/${name##*/} || -f $terraform/${name##*/}.example ]] ||
        echo "${document##*/}: there is no $name" >>"$BATS_TEST_TMPDIR/problems"
    done
  done < <(documents)
  nothing_in "$BATS_TEST_TMPDIR/problems"
}

@test "every AWS command is one that the CLI has, with its options" {
  local document python
  python=$(tool_awscli_python) || skip "$python"
  while read -r document; do
    "$python" "$guides" check-aws "$document"
  done < <(documents)
}

@test "every link leads to a file, and to a heading of it" {
  local document target file anchor
  : >"$BATS_TEST_TMPDIR/problems"
  while read -r document; do
    while read -r target; do
      file=${target%%#*} anchor=''
      [[ $target != *#* ]] || anchor=${target#*#}
      file=${file:+$(dirname "$document")/$file}
      file=${file:-$document}
      [[ -e $file ]] || {
        echo "${document##*/}: $target: there is no such file" >>"$BATS_TEST_TMPDIR/problems"
        continue
      }
      [[ -z $anchor ]] || python3 - "$file" "$anchor" <<'P' || echo "${document##*/}: $target: no such heading" >>"$BATS_TEST_TMPDIR/problems"
import re, sys
headings = re.findall(r"^#+ (.*)$", open(sys.argv[1], encoding="utf-8").read(), re.MULTILINE)
anchors = {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}
sys.exit(sys.argv[2] not in anchors)
P
    done < <(grep -oE '\]\([^)]+\)' "$document" | sed 's/^](//; s/)$//' | grep -v '^https\?:')
  done < <(printf '%s\n' "$english" "$japanese")
  nothing_in "$BATS_TEST_TMPDIR/problems"
}

@test "what the guides quote of STATUS and log are the worker's own words" {
  local document words seen=0
  : >"$BATS_TEST_TMPDIR/problems"
  while read -r document; do
    while read -r words; do
      case $words in
        paused:*) words=$(sed 's/^paused: //; s/ down since.*//' <<<"$words") ;;
      esac
      grep -rqF -- "\"$words\"" "$repo/src/health" || echo "${document##*/}: the worker never says '$words'" >>"$BATS_TEST_TMPDIR/problems"
    done < <(code_spans "$document" | grep -E '^(paused: |memory is )')
    ((++seen))
  done < <(printf '%s\n' "$english" "$japanese")
  ((seen == 2))
  nothing_in "$BATS_TEST_TMPDIR/problems"
}

# block_with TEXT: the one block that contains it.
block_with() { taken blocks "$english" | jq -er --arg text "$1" '[.[] | select(contains($text))] | first'; }

# fake_aws: an `aws` that prints a file and remembers its words.
fake_aws() {
  mkdir -p "$BATS_TEST_TMPDIR/bin"
  cat >"$BATS_TEST_TMPDIR/bin/aws" <<'S'
#!/usr/bin/env bash
printf '%s\n' "$*" >>"$AWS_CALLS"
if [[ $* == *list-objects-v2* || $* == *receive-message* ]]; then cat "$AWS_ANSWER"; else echo null; fi
S
  chmod +x "$BATS_TEST_TMPDIR/bin/aws"
  export PATH=$BATS_TEST_TMPDIR/bin:$PATH AWS_CALLS=$BATS_TEST_TMPDIR/calls AWS_ANSWER=$BATS_TEST_TMPDIR/answer
  : >"$AWS_CALLS"
}

@test "the dead-letter queue is shown with reason, detail, receives and body, and an empty one as nothing" {
  fake_aws
  export DLQ_QUEUE_URL=https://sqs/dlq
  cat >"$AWS_ANSWER" <<'J'
{"Messages": [
  {"Body": "{\"key\":\"a.pdf\"}", "Attributes": {"ApproximateReceiveCount": "1"},
   "MessageAttributes": {"reason": {"StringValue": "access_denied"}, "detail": {"StringValue": "403"}}},
  {"Body": "x", "Attributes": {"ApproximateReceiveCount": "11"}}
]}
J
  run -0 bash -euo pipefail -c "$(block_with 'redriven by the queue')"
  [[ ${lines[0]} == 'access_denied'$'\t''403'$'\t''1'$'\t''{"key":"a.pdf"}' ]]
  [[ ${lines[1]} == 'redriven by the queue'$'\t''-'$'\t''11'$'\t''x' ]]
  : >"$AWS_ANSWER"
  run -0 bash -euo pipefail -c "$(block_with 'redriven by the queue')"
  [[ -z $output ]]
}

@test "reading documents again sends one message for each key, ten at a time" {
  fake_aws
  export SQS_QUEUE_URL=https://sqs/queue
  jq -n '[range(23) | "documents/road/道路 \(.).pdf"]' >"$AWS_ANSWER"
  run -0 bash -euo pipefail -c "$(block_with 'send-message-batch')"
  sed -n 's/.*--entries \(\[.*\]\) --query Failed$/\1/p' "$AWS_CALLS" >"$BATS_TEST_TMPDIR/batches"
  [[ $(jq -s 'map(length)' -c "$BATS_TEST_TMPDIR/batches") == '[10,10,3]' ]]
  [[ $(jq -s '[.[][].MessageBody | fromjson.key] | unique | length' "$BATS_TEST_TMPDIR/batches") == 23 ]]
  jq -se 'all(.[]; ([.[].Id] | unique | length) == length)' "$BATS_TEST_TMPDIR/batches"
}
