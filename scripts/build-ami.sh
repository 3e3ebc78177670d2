#!/usr/bin/env bash
# Makes a machine image of the worker, in two parts. The first turns an Amazon Linux 2023 instance into what the image
# will be; Packer's provisioner and a person by hand both call it there. The second is run from outside and makes the
# image of it (Packer has its own way for that).
#   sudo build-ami.sh --releasever 2023.9.20251110 [OPTIONS]     on the builder
#   build-ami.sh image --instance-id i-0123456789abcdef0 [OPTIONS]   from outside; prints the image's id
#
# On the builder: operating system at exactly that repository version, CloudWatch agent from the core repository, the
# worker's RPM, nothing that compiles; proof by the worker itself; a manifest of what is inside. Each step looks first,
# so that running it again changes nothing. Only this file and the RPM have to be there, never the repository.
# Afterwards: sudo bash ami-cleanup.sh --power-off
#   --releasever VERSION   the version of Amazon Linux's repositories, also as RELEASEVER in the environment (required)
#   --rpm FILE             the worker's RPM (default: the one in this folder or beside this script)
#   --rpm-sha256 SUM       refuse any other bytes
#   --dry-run              say what would be done
#   --root DIR             our own files under DIR instead of / (for tests)
#
# From outside: stops the builder (an image of a running one may be inconsistent), makes the image, tags it, waits until
# it is available. After a lost terminal the same command goes on waiting for the image that it has begun.
#   --instance-id ID       the builder (required)
#   --name PREFIX          the image is called PREFIX-v{YYYYMMDD-HHMMSS} (default file-processor-worker)
#   --environment NAME     tag Environment (default production)
#   --git-commit SHA       tag GitCommit (default: that of the checkout this script is in)
#   --timeout SECONDS      how long the image may take (default 3600)
#   --terminate            end the builder when the image is available
#   --dry-run              say what would be done
# AWS_REGION, POLL_SECONDS, RETRIES, RETRY_SECONDS: see aws.sh
#
# Exit codes: 0 done; 1 it failed, the sentence says why; 2 wrong usage; 5 the time is over, the image is still being made
set -euo pipefail
shopt -s nullglob

scripts_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dry_run=''

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}
usage_error() {
  say "$(basename "$0"): $*; see --help"
  exit 2
}
argument() { (($2 >= 2)) || usage_error "$1 needs a value"; }
show_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

# --- on the builder --------------------------------------------------------------------------------------------------

releasever=${RELEASEVER:-} rpm_file='' rpm_sha256='' root=''
steps=8 step_number=0
models=(eng jpn jpn_vert osd)
build_packages=(gcc gcc-c++ make cmake clang llvm git git-core rust cargo golang)
unneeded_services=(rpcbind.service rpcbind.socket gssproxy.service libstoragemgmt.service atd.service)

step() {
  step_number=$((step_number + 1))
  say "[$step_number/$steps] $*"
}

# change COMMAND...: what changes the machine; its output only when it fails.
change() {
  if [[ -n $dry_run ]]; then
    say "  would run:$(printf ' %q' "$@")"
    return 0
  fi
  local output
  output=$("$@" 2>&1) || die "$1 ${2:-} failed: $(tail -n 15 <<<"$output")"
}

installed() { rpm -q "$1" >/dev/null 2>&1; }

find_rpm() {
  if [[ -z $rpm_file ]]; then
    local found=(file-processor-worker-*.rpm)
    [[ $PWD == "$scripts_dir" ]] || found+=("$scripts_dir"/file-processor-worker-*.rpm)
    ((${#found[@]} == 1)) || usage_error "${#found[@]} RPMs of the worker are here: name the right one with --rpm"
    rpm_file=${found[0]}
  fi
  [[ -r $rpm_file ]] || die "there is no RPM $rpm_file"
  rpm_file=$(realpath "$rpm_file")
}

check_machine() {
  step "Checking machine and RPM..."
  ((EUID == 0)) || die "installing needs root: run it with sudo"
  (
    # shellcheck source=/dev/null
    . "$root/etc/os-release"
    [[ ${ID:-} == amzn && ${VERSION_ID:-} == 2023 ]]
  ) || die "this is not Amazon Linux 2023"
  [[ $releasever =~ ^2023\.[0-9]+\.[0-9]{8}$ ]] ||
    usage_error "--releasever needs a version such as 2023.9.20251110 (it decides every package; this machine has $(rpm -q --qf '%{VERSION}' system-release 2>/dev/null || echo none))"
  find_rpm
  rpm_sum=$(sha256sum "$rpm_file" | cut -d' ' -f1)
  [[ -z $rpm_sha256 || $rpm_sum == "$rpm_sha256" ]] || die "$rpm_file has the SHA-256 $rpm_sum, not $rpm_sha256: it is another file"
  local name arch
  read -r name rpm_nevra arch rpm_header < <(rpm -qp --qf '%{NAME} %{NEVRA} %{ARCH} %{SHA256HEADER}\n' "$rpm_file") || die "$rpm_file is no RPM"
  [[ $name == file-processor-worker ]] || die "$rpm_file is of $name, not of file-processor-worker"
  [[ $arch == "$(uname -m)" ]] || die "$rpm_file is for $arch, this machine is $(uname -m)"
}

update_system() {
  step "Updating OS packages to $releasever..."
  change dnf -y --releasever="$releasever" upgrade
  [[ -n $dry_run ]] && return
  local now
  now=$(rpm -q --qf '%{VERSION}' system-release)
  [[ $now == "$releasever" ]] || die "the system is at $now, not $releasever: such a version does not exist, or this machine is already newer"
}

install_agent() {
  step "Installing CloudWatch Agent..."
  installed amazon-cloudwatch-agent || change dnf -y --releasever="$releasever" install amazon-cloudwatch-agent
}

# The same version with other bytes is not the same; an older one is wanted when it is given.
install_worker() {
  step "Installing the worker ($rpm_nevra)..."
  local verb=install
  if installed file-processor-worker; then
    local header nevra
    read -r nevra header < <(rpm -q --qf '%{NEVRA} %{SHA256HEADER}\n' file-processor-worker)
    [[ $header != "$rpm_header" ]] || return 0
    if [[ $nevra == "$rpm_nevra" ]]; then
      verb=reinstall
    elif [[ $(printf '%s\n' "$nevra" "$rpm_nevra" | sort -V | tail -n 1) == "$nevra" ]]; then
      verb=downgrade
    fi
  fi
  change dnf -y --releasever="$releasever" --setopt=install_weak_deps=False "$verb" "$rpm_file"
}

check_services() {
  step "Checking services..."
  local service
  for service in "${unneeded_services[@]}"; do
    if systemctl is-enabled --quiet "$service" 2>/dev/null; then change systemctl disable --now "$service"; fi
  done
  [[ -n $dry_run ]] && return
  # Enabled, and yet it does not start: the environment file comes with user data.
  systemctl is-enabled --quiet file-processor-worker.service ||
    die "file-processor-worker.service is not enabled: the RPM's preset did not work, so instances would do nothing"
  ! systemctl is-failed --quiet file-processor-worker.service || die "file-processor-worker.service has failed: systemctl status file-processor-worker.service"
}

remove_build_tools() {
  step "Removing what compiles..."
  local package there=()
  for package in "${build_packages[@]}"; do
    if installed "$package"; then there+=("$package"); fi
  done
  ((${#there[@]} == 0)) || change dnf -y remove "${there[@]}"
  [[ -n $dry_run ]] && return
  local tool
  for tool in gcc cc g++ clang make cmake git cargo rustc go; do
    [[ ! -x $root/usr/bin/$tool && ! -x $root/usr/local/bin/$tool ]] || die "$tool is still there ($(rpm -qf "$root/usr/bin/$tool" 2>/dev/null || echo 'of no package')): remove it"
  done
}

prove_worker() {
  step "Proving the worker..."
  if [[ -n $dry_run ]]; then
    say "  would run: file-processor-worker --validate-only --offline, as appuser"
    return
  fi
  local model
  for model in "${models[@]}"; do
    [[ -s $root/usr/local/share/tessdata/$model.traineddata ]] || die "the model $model is missing in /usr/local/share/tessdata: the RPM is incomplete"
  done
  runuser -u appuser -- env CACHE_DIRECTORY=/var/cache/file-processor-worker \
    "$root/usr/bin/file-processor-worker" --validate-only --offline >&2 || die "the worker does not pass its own validation, see above"
}

source_ami() {
  local token
  token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token) || return 0
  curl -sf -m 2 -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/meta-data/ami-id || true
}

# Python is there: dnf is made of it.
write_manifest() {
  step "Writing the manifest..."
  local manifest=$root/etc/file-processor/ami-manifest.json
  if [[ -n $dry_run ]]; then
    say "  would write $manifest"
    return
  fi
  mkdir -p "$(dirname "$manifest")"
  {
    printf 'value\t%s\t%s\n' created "$(date -u +%Y-%m-%dT%H:%M:%SZ)" releasever "$releasever" architecture "$(uname -m)" \
      kernel "$(uname -r)" source_ami "$(source_ami)" worker_rpm "$rpm_nevra"
    "$root/usr/bin/file-processor-worker" --version | awk '{ key = $1; sub(/^[^ ]+ +/, ""); printf "worker\t%s\t%s\n", key, $0 }'
    printf 'sum\t%s\t%s\n' "$(basename "$rpm_file")" "$rpm_sum"
    (cd "$root/" && sha256sum usr/bin/file-processor-worker usr/lib*/file-processor-worker/libpdfium.so \
      usr/local/share/tessdata/*.traineddata) | awk '{ printf "sum\t/%s\t%s\n", $2, $1 }'
    rpm -qa --qf 'rpm\t%{NEVRA}\t\n' | sort
  } | python3 -I -c '
import json, sys
manifest = {"worker": {}, "sha256": {}, "rpms": []}
for line in sys.stdin:
    kind, key, value = line.rstrip("\n").split("\t", 2)
    if kind == "rpm":
        manifest["rpms"].append(key)
    elif kind == "value":
        manifest[key] = value or None
    else:
        manifest["worker" if kind == "worker" else "sha256"][key] = value
json.dump(manifest, sys.stdout, indent=2, ensure_ascii=False)
print()
' >"$manifest.part" || die "the manifest could not be written"
  mv "$manifest.part" "$manifest"
  say "AMI Build Preparation Complete: /etc/file-processor/ami-manifest.json says what is inside"
  say "Next: sudo bash ami-cleanup.sh --power-off, then from outside: build-ami.sh image --instance-id ..."
}

build() {
  while (($#)); do
    case $1 in
      -h | --help) show_help && exit ;;
      --releasever) argument "$1" $# && releasever=$2 && shift ;;
      --rpm) argument "$1" $# && rpm_file=$2 && shift ;;
      --rpm-sha256) argument "$1" $# && rpm_sha256=$2 && shift ;;
      --root) argument "$1" $# && root=$2 && shift ;;
      --dry-run) dry_run=1 ;;
      *) usage_error "unknown argument $1" ;;
    esac
    shift
  done
  check_machine
  update_system
  install_agent
  install_worker
  check_services
  remove_build_tools
  prove_worker
  write_manifest
}

# --- from outside ----------------------------------------------------------------------------------------------------

builder_is_stopped() {
  aws_read ec2 describe-instances --instance-ids "$instance_id"
  local state
  state=$(answered '.Reservations[0].Instances[0].State.Name')
  case $state in
    stopped) return 0 ;;
    shutting-down | terminated) die "the builder $instance_id is $state: nothing to make an image of" ;;
    *) return 1 ;;
  esac
}

read_builder() {
  aws_read ec2 describe-instances --instance-ids "$instance_id"
  builder=$(answered -c '.Reservations[0].Instances[0] // empty')
  [[ -n $builder ]] || die "there is no instance $instance_id in this region"
  [[ -z $(jq -r '[.Tags[]? | select(.Key == "aws:autoscaling:groupName")][0].Value // ""' <<<"$builder") ]] ||
    die "$instance_id belongs to an Auto Scaling group: it works, it is no builder"
  builder_image=$(jq -r .ImageId <<<"$builder")
}

# An image of this builder that is still being made is waited for, not made twice.
find_begun_image() {
  aws_read ec2 describe-images --owners self --filters "Name=tag:SourceInstance,Values=$instance_id" Name=state,Values=pending
  image_id=$(answered '.Images[0].ImageId // ""')
  [[ -z $image_id ]] || say "image $image_id of $instance_id is being made already: going on to wait for it"
}

create_image() {
  local name tags
  name="$image_prefix-v$(date -u +%Y%m%d-%H%M%S)"
  tags=$(jq -nc --arg name "$name" --arg environment "$environment" --arg commit "$git_commit" --arg ami "$builder_image" --arg instance "$instance_id" '
    {Name: $name, Environment: $environment, Application: "file-processor", GitCommit: $commit, SourceAmi: $ami, SourceInstance: $instance}
    | to_entries | map({Key: .key, Value: .value}) as $tags | ["image", "snapshot"] | map({ResourceType: ., Tags: $tags})')
  aws_change ec2 create-image --instance-id "$instance_id" --name "$name" --description "File processor worker, commit $git_commit" \
    --tag-specifications "$tags"
  image_id=$(answered '.ImageId // "NEW"')
  say "image $image_id: $name"
}

image_is_available() {
  aws_read ec2 describe-images --image-ids "$image_id"
  local state
  state=$(answered '.Images[0].State // "missing"')
  if [[ $state != "${last_state:-}" ]]; then say "$(clock) $image_id: $state"; fi
  last_state=$state
  case $state in
    available) return 0 ;;
    pending) return 1 ;;
    *) die "image $image_id is $state: $(answered '.Images[0].StateReason.Message // "AWS gives no reason"')" ;;
  esac
}

require_imds_v2() {
  [[ $(answered '.Images[0].ImdsSupport // ""') == v2.0 ]] ||
    aws_change ec2 modify-image-attribute --image-id "$image_id" --imds-support Value=v2.0
}

make_image() {
  instance_id='' image_prefix=file-processor-worker environment=production git_commit='' timeout_seconds=3600 terminate=''
  while (($#)); do
    case $1 in
      -h | --help) show_help && exit ;;
      --instance-id) argument "$1" $# && instance_id=$2 && shift ;;
      --name) argument "$1" $# && image_prefix=$2 && shift ;;
      --environment) argument "$1" $# && environment=$2 && shift ;;
      --git-commit) argument "$1" $# && git_commit=$2 && shift ;;
      --timeout) argument "$1" $# && timeout_seconds=$2 && shift ;;
      --terminate) terminate=1 ;;
      --dry-run) dry_run=1 ;;
      *) usage_error "unknown argument $1" ;;
    esac
    shift
  done
  [[ $instance_id =~ ^i-[0-9a-f]{8,}$ ]] || usage_error "which builder? --instance-id i-0123456789abcdef0"
  [[ $timeout_seconds =~ ^[0-9]+$ ]] || usage_error "$timeout_seconds is not a number of seconds"
  # shellcheck source=aws.sh
  . "$scripts_dir/aws.sh"
  require_tools aws jq
  git_commit=${git_commit:-$(git -C "$scripts_dir" rev-parse HEAD 2>/dev/null || true)}
  [[ -n $git_commit ]] || usage_error "this is no checkout: say of which commit the image is by --git-commit"
  resume_hint="The same command goes on where it was."

  read_builder
  find_begun_image
  if [[ -z $image_id ]]; then
    aws_change ec2 stop-instances --instance-ids "$instance_id"
    if [[ -z $dry_run ]]; then
      wait_until 900 builder_is_stopped || die "$instance_id has not stopped after 900 s; see its console output. $resume_hint"
      say "$(clock) $instance_id is stopped"
    fi
    create_image
  fi
  if [[ -n $dry_run ]]; then
    say "dry run: nothing was changed"
    exit 0
  fi
  if ! wait_until "$timeout_seconds" image_is_available; then
    say "$image_id is still being made after $timeout_seconds s; the same command goes on waiting for it"
    exit 5
  fi
  require_imds_v2
  if [[ -n $terminate ]]; then
    aws_change ec2 terminate-instances --instance-ids "$instance_id"
  else
    say "the builder can go: aws ec2 terminate-instances --instance-ids $instance_id"
  fi
  say "Next: $scripts_dir/deploy-new-ami.sh $image_id"
  printf '%s\n' "$image_id"
}

case ${1:-} in
  image) make_image "${@:2}" ;;
  *) build "$@" ;;
esac
