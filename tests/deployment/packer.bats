#!/usr/bin/env bats
# The Packer template: valid, and made of the scripts that people run by hand.

load support/deploy-tools

template=$BATS_TEST_DIRNAME/../../packaging/packer/file-processor-worker.pkr.hcl

setup_file() {
  packer=$(tool_packer) || skip "$packer"
  export packer CHECKPOINT_DISABLE=1
}

setup() {
  touch "$BATS_TEST_TMPDIR/worker.rpm"
  arguments=(-var "rpm=$BATS_TEST_TMPDIR/worker.rpm" -var releasever=2023.9.20251110 -var git_commit=0123abc)
}

# without BLOCK...: the template without these blocks, which Debian's version does not know.
without() {
  awk -v blocks="$*" 'BEGIN { n = split(blocks, block, " ") }
    { for (i = 1; i <= n; i++) if (!depth && $1 == block[i] && /\{$/) { depth = 1; next } }
    depth { depth += gsub(/\{/, "{") - gsub(/\}/, "}"); next }
    { print }' "$template"
}

# validate ARGUMENTS...: by a Packer that has its plugins inside; the newer ones would have to fetch them.
validate() {
  [[ $("$packer" version | head -n 1) == "Packer v1.6."* ]] || skip 'this Packer would fetch its plugins'
  mkdir -p "$BATS_TEST_TMPDIR/packaging/packer" "$BATS_TEST_TMPDIR/scripts"
  touch "$BATS_TEST_TMPDIR"/scripts/{build-ami,ami-cleanup}.sh
  without packer metadata_options | sed '/^ *imds_support /d' >"$BATS_TEST_TMPDIR/packaging/packer/worker.pkr.hcl"
  run "$packer" validate "$@" "$BATS_TEST_TMPDIR/packaging/packer"
}

@test "valid" {
  validate "${arguments[@]}"
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "wrong input is refused" {
  validate "${arguments[@]}" -var releasever=latest
  [ "$status" -ne 0 ]
  [[ $output == *"The version is not one of Amazon Linux 2023"* ]]
  validate "${arguments[@]}" -var git_commit=main
  [ "$status" -ne 0 ]
  validate "${arguments[@]}" -var architecture=riscv64
  [ "$status" -ne 0 ]
  [[ $output == *"x86_64 or arm64"* ]]
}

@test "formatted" {
  run "$packer" fmt -check "$template"
  [ "$status" -eq 0 ]
}

@test "what it calls is there, with options that are there" {
  local script
  for script in build-ami.sh ami-cleanup.sh; do
    grep -q "/scripts/$script\"" "$template"
    [ -x "$BATS_TEST_DIRNAME/../../scripts/$script" ]
  done
  grep -q 'build-ami.sh --releasever .* --rpm ' "$template"
  "$BATS_TEST_DIRNAME/../../scripts/build-ami.sh" --help | grep -q -- '--releasever VERSION'
  "$BATS_TEST_DIRNAME/../../scripts/ami-cleanup.sh" --help | grep -q -- '--power-off'
}

@test "the clean-up is the last thing on the builder, and the image is of a stopped one" {
  [ "$(grep -n 'provisioner "' "$template" | tail -n 1 | cut -d: -f1)" -lt "$(grep -n 'ami-cleanup.sh --power-off' "$template" | cut -d: -f1)" ]
  grep -Eq '^ *disable_stop_instance += true' "$template"
}

@test "encrypted, IMDSv2, tagged, by owner and name, named as prune-amis.sh reads it" {
  grep -Eq '^ *encrypted += true' "$template"
  grep -Eq '^ *http_tokens += "required"' "$template"
  grep -Eq '^ *imds_support += "v2.0"' "$template"
  grep -Eq '^ *owners += \["amazon"\]' "$template"
  local tag
  for tag in Environment Application GitCommit SourceAmi; do grep -Eq "^ *$tag +=" "$template"; done
  grep -q 'formatdate("YYYYMMDD-hhmmss", timestamp())' "$template"
  grep -q '"file-processor-worker-v\${local.stamp}"' "$template"
}
