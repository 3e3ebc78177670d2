#!/usr/bin/env bats
# build-ami.sh: on the builder with stand-ins for what changes the machine (an Amazon Linux machine is not to be had
# here), and from outside against a scripted AWS.

load support/scripted-aws
load support/deploy-tools

releasever=2023.9.20251110

setup() {
  use_scripted_aws
  [ "$EUID" -eq 0 ] || skip 'installing needs root'
  export MACHINE=$BATS_TEST_TMPDIR/machine
  root=$MACHINE/root
  mkdir -p "$MACHINE/installed" "$root"/{etc,usr/bin,usr/lib64/file-processor-worker,usr/local/share/tessdata}
  local command
  for command in dnf rpm systemctl runuser curl; do ln -s "$BATS_TEST_DIRNAME/support/fake-machine" "$BATS_TEST_TMPDIR/bin/$command"; done
  : >"$MACHINE/changes"
  : >"$MACHINE/proofs"
  : >"$MACHINE/failed"
  printf '%s\n' file-processor-worker.service rpcbind.socket sshd.service >"$MACHINE/enabled"
  printf 'ID="amzn"\nVERSION_ID="2023"\n' >"$root/etc/os-release"
  echo 'system-release-2023.8.20250101 x' >"$MACHINE/installed/system-release"
  echo 'git-2 x' >"$MACHINE/installed/git"
  echo 'bash-5 x' >"$MACHINE/installed/bash"
  install -m 755 /dev/stdin "$root/usr/bin/file-processor-worker" <<<$'#!/bin/bash\necho "file-processor-worker 1.2.3"\necho "engine  tesseract-5.5.0/jpn+eng/0123"'
  echo pdfium >"$root/usr/lib64/file-processor-worker/libpdfium.so"
  local model
  for model in eng jpn jpn_vert osd; do echo "$model" >"$root/usr/local/share/tessdata/$model.traineddata"; done
  rpm_file=$BATS_TEST_TMPDIR/file-processor-worker-1.2.3-7.rpm
  make_rpm 1.2.3-7 header-a
}

teardown() { no_unexpected_call; }

# make_rpm VERSION HEADER
make_rpm() { printf 'file-processor-worker file-processor-worker-%s.%s %s %s\n' "$1" "$(uname -m)" "$(uname -m)" "$2" >"$rpm_file"; }

build() { run "$scripts/build-ami.sh" --root "$root" --releasever "$releasever" --rpm "$rpm_file" "$@"; }

manifest() { jq "$@" "$root/etc/file-processor/ami-manifest.json"; }

@test "a builder becomes what the image will be, in eight steps" {
  build
  [ "$status" -eq 0 ]
  [[ $output == *"[1/8]"*"[8/8]"* ]]
  [ "$(cut -d' ' -f1-2 "$MACHINE/changes" | sort | uniq -c | awk '{ print $1, $2, $3 }' | paste -sd,)" = "4 dnf -y,1 systemctl disable" ]
  grep -q -- "--releasever=$releasever upgrade" "$MACHINE/changes"
  grep -q -- "--releasever=$releasever install amazon-cloudwatch-agent" "$MACHINE/changes"
  grep -q -- "install $rpm_file" "$MACHINE/changes"
  grep -q 'remove git$' "$MACHINE/changes"
  grep -q 'rpcbind.socket' "$MACHINE/changes"
  grep -q -- '-u appuser .*--validate-only --offline' "$MACHINE/proofs"
}

@test "the manifest says what is inside" {
  build --rpm-sha256 "$(sha256sum "$rpm_file" | cut -d' ' -f1)"
  [ "$status" -eq 0 ]
  manifest -e --arg v "$releasever" '.releasever == $v and .source_ami == "ami-0000000000000000a" and .worker["file-processor-worker"] == "1.2.3"
    and (.worker.engine | startswith("tesseract-5.5.0")) and (.rpms | index("bash-5")) and ([.rpms[] | select(startswith("git"))] == [])'
  manifest -e --arg sum "$(sha256sum "$root/usr/local/share/tessdata/jpn_vert.traineddata" | cut -d' ' -f1)" \
    '.sha256["/usr/local/share/tessdata/jpn_vert.traineddata"] == $sum and (.sha256 | length) == 7'
}

@test "running it again changes nothing but the manifest's time" {
  build
  : >"$MACHINE/changes"
  build
  [ "$status" -eq 0 ]
  # That the system is at this version only dnf knows.
  [ "$(cat "$MACHINE/changes")" = "dnf -y --releasever=$releasever upgrade" ]
}

@test "another build of the same version is reinstalled, an older one is a downgrade" {
  build
  make_rpm 1.2.3-7 header-b
  build
  grep -q ' reinstall ' "$MACHINE/changes"
  [ "$(cut -d' ' -f2 "$MACHINE/installed/file-processor-worker")" = header-b ]
  make_rpm 1.2.3-6 header-c
  build
  grep -q ' downgrade ' "$MACHINE/changes"
  make_rpm 1.2.3-10 header-d
  build
  [ "$(tail -n 1 "$MACHINE/changes" | grep -c ' install ')" -eq 1 ]
}

@test "dry run: every change said, none made" {
  build --dry-run
  [ "$status" -eq 0 ]
  [ ! -s "$MACHINE/changes" ]
  [ ! -e "$root/etc/file-processor/ami-manifest.json" ]
  [[ $output == *"would run: dnf -y --releasever=$releasever upgrade"*"would run: dnf -y remove git"*"would write"* ]]
}

@test "a step that fails ends it, with what the command said and no manifest" {
  local step
  for step in upgrade amazon-cloudwatch-agent "$rpm_file" 'remove git' validate-only; do
    printf '%s\n' "$step" >"$MACHINE/fail"
    build
    [ "$status" -eq 1 ]
    [[ $output == *"scripted failure"* ]]
    [ ! -e "$root/etc/file-processor/ami-manifest.json" ]
  done
}

@test "what the image may not be without is found missing" {
  rm "$root/usr/local/share/tessdata/osd.traineddata"
  build
  [ "$status" -eq 1 ]
  [[ $output == *"the model osd is missing"* ]]
  echo osd >"$root/usr/local/share/tessdata/osd.traineddata"
  sed -i /file-processor/d "$MACHINE/enabled"
  build
  [ "$status" -eq 1 ]
  [[ $output == *"is not enabled"* ]]
}

@test "a compiler of no package is found" {
  install -m 755 /dev/null "$root/usr/bin/gcc"
  build
  [ "$status" -eq 1 ]
  [[ $output == *"gcc is still there"* ]]
}

@test "wrong input is refused before anything changed" {
  printf 'ID=debian\nVERSION_ID=12\n' >"$root/etc/os-release"
  build
  [ "$status" -eq 1 ]
  [[ $output == *"not Amazon Linux 2023"* ]]
  printf 'ID="amzn"\nVERSION_ID="2023"\n' >"$root/etc/os-release"
  releasever=latest build
  [ "$status" -eq 2 ]
  [[ $output == *"--releasever needs a version"*"2023.8.20250101"* ]]
  build --rpm-sha256 0000
  [ "$status" -eq 1 ]
  [[ $output == *"it is another file"* ]]
  sed -i "s/ $(uname -m) / riscv64 /" "$rpm_file"
  build
  [ "$status" -eq 1 ]
  [[ $output == *"is for riscv64"* ]]
  echo 'bash bash-5 noarch x' >"$rpm_file"
  build
  [ "$status" -eq 1 ]
  [[ $output == *"is of bash"* ]]
  [ ! -s "$MACHINE/changes" ]
}

@test "the only RPM in the folder needs no name, RELEASEVER may be in the environment" {
  cd "$BATS_TEST_TMPDIR"
  RELEASEVER=$releasever run "$scripts/build-ami.sh" --root "$root"
  [ "$status" -eq 0 ]
  cp "$rpm_file" file-processor-worker-9.rpm
  RELEASEVER=$releasever run "$scripts/build-ami.sh" --root "$root"
  [ "$status" -eq 2 ]
  [[ $output == *"2 RPMs of the worker are here"* ]]
}

# --- from outside

instance() {
  jq -nc --arg state "$1" --arg group "${2:-}" '{Reservations: [{Instances: [{InstanceId: "i-00000001", ImageId: "ami-base", State: {Name: $state},
    Tags: (if $group == "" then [] else [{Key: "aws:autoscaling:groupName", Value: $group}] end)}]}]}'
}

image() { jq -nc --arg state "$1" '{Images: [{ImageId: "ami-00000001", State: $state, ImdsSupport: "v2.0", StateReason: {Message: "the snapshot failed"}}]}'; }

outside() {
  answer ec2.describe-instances "$(instance running)" "$(instance stopping)"
  printf 'always %s\n' "$(instance stopped)" >>"$AWS_SCENARIO/ec2.describe-instances"
  always ec2.describe-images@SourceInstance '{"Images": []}'
  answer ec2.describe-images@--image-ids "$(image pending)" "$(image pending)" "$(image available)"
  always ec2.stop-instances '{}'
  always ec2.create-image '{"ImageId": "ami-00000001"}'
  always ec2.terminate-instances '{}'
}

make_image() { run "$scripts/build-ami.sh" image --instance-id i-00000001 "$@"; }

@test "image: the builder stops before its image is made, name and tags as agreed" {
  outside
  make_image --git-commit 0123abc --environment staging
  [ "$status" -eq 0 ]
  [ "${lines[-1]}" = ami-00000001 ]
  [ "$(grep -n describe-instances "$AWS_CALLS" | tail -n 1 | cut -d: -f1)" -lt "$(grep -n create-image "$AWS_CALLS" | cut -d: -f1)" ]
  # Running, stopping, stopped: the image waits for the last.
  [ "$(sed '/create-image/q' "$AWS_CALLS" | grep -c describe-instances)" -eq 3 ]
  called 'create-image .*--name file-processor-worker-v[0-9]{8}-[0-9]{6} '
  not_called no-reboot
  eval "set -- $(grep create-image "$AWS_CALLS")"
  while [ "$1" != --tag-specifications ]; do shift; done
  jq -e '[.[].ResourceType] == ["image", "snapshot"] and (.[0].Tags | from_entries
    | .Environment == "staging" and .Application == "file-processor" and .GitCommit == "0123abc" and .SourceAmi == "ami-base")' <<<"$2"
  not_called terminate-instances
}

@test "image: standard output is the id alone" {
  outside
  [ "$("$scripts/build-ami.sh" image --instance-id i-00000001 --terminate 2>/dev/null)" = ami-00000001 ]
  called 'terminate-instances --instance-ids i-00000001'
}

@test "image: after a lost terminal the image that was begun is waited for" {
  outside
  always ec2.describe-images@SourceInstance "$(image pending)"
  make_image
  [ "$status" -eq 0 ]
  not_called create-image
  not_called stop-instances
}

@test "image: one that fails says why, one that takes too long is exit 5" {
  outside
  always ec2.describe-images@--image-ids "$(image failed)"
  make_image --terminate
  [ "$status" -eq 1 ]
  [[ $output == *"the snapshot failed"* ]]
  always ec2.describe-images@--image-ids "$(image pending)"
  make_image --timeout 0 --terminate
  [ "$status" -eq 5 ]
  not_called terminate-instances
}

@test "image: an old base image gets IMDSv2, one that requires it is left" {
  outside
  always ec2.describe-images@--image-ids '{"Images": [{"ImageId": "ami-00000001", "State": "available"}]}'
  always ec2.modify-image-attribute '{}'
  make_image
  called 'modify-image-attribute --image-id ami-00000001 --imds-support Value=v2.0'
}

@test "image: an instance of a group is no builder; dry run changes nothing" {
  outside
  make_image --dry-run
  [ "$status" -eq 0 ]
  [ -z "$(changes)" ]
  always ec2.describe-instances "$(instance running workers)"
  make_image
  [ "$status" -eq 1 ]
  [[ $output == *"belongs to an Auto Scaling group"* ]]
  [ -z "$(changes)" ]
}

@test "the real CLI takes every call that these tests saw" {
  real_cli_takes_every_call
}
