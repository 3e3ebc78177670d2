# What the build machine and the instance run by hand, where no real one can be had: Amazon Linux's package manager and
# Auto Scaling are replaced by programs that say what they were asked.

load support/common

setup() {
  FAKES=$BATS_TEST_TMPDIR/bin
  mkdir "$FAKES"
  CALLS=$BATS_TEST_TMPDIR/calls
  export CALLS
}

teardown() { [[ -z ${STUB:-} ]] || kill "$STUB"; }

# fake NAME SCRIPT: a program of this name that writes down its arguments, then does SCRIPT.
fake() {
  # shellcheck disable=SC2016  # meant for the program
  printf '#!/bin/bash\nprintf "%%s\\n" "%s $*" >>"$CALLS"\n%s\n' "$1" "$2" >"$FAKES/$1"
  chmod +x "$FAKES/$1"
}

# an_instance: the metadata of one, as AWS_EC2_METADATA_SERVICE_ENDPOINT.
an_instance() {
  python3 "$REPO_DIR/scripts/testbed/imds_stub.py" 0 >"$BATS_TEST_TMPDIR/imds" 2>/dev/null 3>&- &
  STUB=$!
  wait_for 60 "the metadata service" test -s "$BATS_TEST_TMPDIR/imds"
  AWS_EC2_METADATA_SERVICE_ENDPOINT=$(<"$BATS_TEST_TMPDIR/imds")
  export AWS_EC2_METADATA_SERVICE_ENDPOINT
}

mark_unhealthy() { PATH=$FAKES:$PATH "$REPO_DIR/scripts/mark-unhealthy.sh" "$@"; }

@test "an instance of a group is reported by its own id and region, whatever its grace period" {
  an_instance
  fake aws ''
  run -0 mark_unhealthy
  [ "$(<"$CALLS")" = "aws autoscaling set-instance-health --region us-east-1 --instance-id i-0123456789abcdef0 --health-status Unhealthy --no-should-respect-grace-period" ]
}

@test "an instance in no group is not reported, and that is no fault" {
  an_instance
  curl -sf -X POST -d '{"autoscaling/target-lifecycle-state": null}' "$AWS_EC2_METADATA_SERVICE_ENDPOINT/_control"
  fake aws ''
  run -0 mark_unhealthy
  [[ $output == *"in no Auto Scaling group"* ]]
  [ ! -e "$CALLS" ]
}

@test "a dry run reports nothing" {
  an_instance
  fake aws ''
  run -0 mark_unhealthy --dry-run
  [[ $output == *"would report instance i-0123456789abcdef0"* ]]
  [ ! -e "$CALLS" ]
}

@test "a refused report is a failure that names the permission" {
  an_instance
  fake aws 'echo "An error occurred (AccessDenied)" >&2; exit 254'
  run -1 mark_unhealthy
  [[ $output == *autoscaling:SetInstanceHealth* ]]
}

@test "without a metadata service nothing is reported" {
  fake aws ''
  AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9 run -1 mark_unhealthy
  [[ $output == *"does not answer"* ]]
  [ ! -e "$CALLS" ]
}

@test "the engine's entry point for Amazon Linux refuses other systems with a sentence" {
  run -1 "$REPO_DIR/scripts/install-tesseract-al2023.sh"
  [[ $output == *"not Amazon Linux 2023"* ]]
}

@test "on Amazon Linux the build's packages are asked for by their names there, and a failure is loud" {
  # Everything but Debian's package database.
  local program
  for program in bash env dirname basename awk sed cut sha256sum uname cat mktemp rm mkdir ls grep head sort tail id nproc; do
    ln -s "$(command -v "$program")" "$FAKES/$program"
  done
  fake rpm 'case $* in *gcc-c++*) exit 1 ;; esac'
  fake dnf 'exit 1'
  printf 'ID="amzn"\nVERSION_ID="2023"\n' >"$BATS_TEST_TMPDIR/os-release"
  run -1 env PATH="$FAKES" OS_RELEASE="$BATS_TEST_TMPDIR/os-release" XDG_CACHE_HOME="$BATS_TEST_TMPDIR/cache" \
    "$REPO_DIR/scripts/install-tesseract-al2023.sh"
  grep -qx 'dnf install -y -q gcc-c++' "$CALLS"
  [[ $output == *"dnf could not install gcc-c++"* && $output == *"the engine could not be built"* ]]
}

@test "a model with other bytes than the pinned ones is never used" {
  local language
  mkdir "$BATS_TEST_TMPDIR/sources" "$BATS_TEST_TMPDIR/models"
  run -0 "$REPO_DIR/scripts/fetch-models.sh" "$BATS_TEST_TMPDIR/models"
  for language in eng jpn jpn_vert osd; do
    [ -s "$BATS_TEST_TMPDIR/models/$language.traineddata" ]
  done
  # Spoilt afterwards: it is put right.
  echo spoilt >"$BATS_TEST_TMPDIR/models/jpn.traineddata"
  run -0 "$REPO_DIR/scripts/fetch-models.sh" "$BATS_TEST_TMPDIR/models"
  run ! grep -q spoilt "$BATS_TEST_TMPDIR/models/jpn.traineddata"
}

@test "what comes from elsewhere with another checksum is refused" {
  mkdir -p "$BATS_TEST_TMPDIR/checkout/packaging/models" "$BATS_TEST_TMPDIR/checkout/scripts"
  cp "$REPO_DIR"/scripts/{lib,fetch-models}.sh "$BATS_TEST_TMPDIR/checkout/scripts/"
  echo "eng $(printf other | sha256sum | cut -d ' ' -f 1) https://models.invalid/eng" >"$BATS_TEST_TMPDIR/checkout/packaging/models/models.txt"
  # shellcheck disable=SC2016  # meant for the program
  fake curl 'while (($#)); do [[ $1 != -o ]] || echo something >"$2"; shift; done'
  run -1 env PATH="$FAKES:$PATH" "$BATS_TEST_TMPDIR/checkout/scripts/fetch-models.sh" "$BATS_TEST_TMPDIR/models"
  [[ $output == *"another checksum"* ]]
  [ -z "$(ls -A "$BATS_TEST_TMPDIR/models")" ]
}

@test "start-worker.sh refuses what it does not know" {
  run -2 "$REPO_DIR/scripts/start-worker.sh" --now
  run -2 "$REPO_DIR/scripts/start-worker.sh" --timeout soon
}

@test "the agent's configuration ships the worker's log to its group, read as a member of the service's group" {
  local configuration=$REPO_DIR/packaging/host/amazon-cloudwatch-agent.json
  jq -e '.logs.logs_collected.files.collect_list[] | select(.file_path == "/var/log/file-processor/worker.log") |
    .log_group_name == "/aws/ec2/file-processor" and .log_stream_name == "{instance_id}"' "$configuration"
  jq -e '.metrics.namespace == "FileProcessor" and .agent.run_as_user == "cwagent"' "$configuration"
  # The unit writes where the agent reads.
  grep -qx 'Environment=LOG_FILE=%L/file-processor/worker.log' "$REPO_DIR/systemd/file-processor-worker.service"
}

@test "every script that is run by itself is strict, and its manual names its options" {
  local script option count=0 problems=$BATS_TEST_TMPDIR/problems
  : >"$problems"
  cd "$REPO_DIR"
  while read -r script; do
    count=$((count + 1))
    grep -Eq '^set -(euo|Eeuo|uo) pipefail$' "$script" || echo "$script: not strict" >>"$problems"
    run bash "$script" --help </dev/null
    ((status == 0 && ${#lines[@]})) || echo "$script: --help prints nothing or fails" >>"$problems"
    for option in $(grep -oE '^ +(-h \| )?--[a-z-]+( \| --[a-z-]+)*\)' "$script" | grep -oE -- '--[a-z-]+' | grep -vxF -- --help | sort -u); do
      grep -qE -- "$option([^a-z-]|\$)" <<<"$output" || echo "$script: --help does not name $option" >>"$problems"
    done
  done < <(git ls-files -s 'scripts/*.sh' 'packaging/*.sh' | sed -n 's/^100755 .*\t//p')
  ((count >= 30))
  [[ ! -s $problems ]] || {
    cat "$problems"
    return 1
  }
}
