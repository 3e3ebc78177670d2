#!/usr/bin/env bats
# ami-cleanup.sh on a throw-away root: each kind of leftover is planted, found by name, removed, and gone.

cleanup=$BATS_TEST_DIRNAME/../../scripts/ami-cleanup.sh

setup() {
  [ "$EUID" -eq 0 ] || skip 'what nobody may read cannot be cleaned'
  root=$BATS_TEST_TMPDIR/root
  mkdir -p "$root"/{etc/ssh/sshd_config.d,etc/file-processor,root,home/ec2-user/.ssh,var/log,var/tmp,tmp,usr/bin}
  : >"$root/etc/machine-id"
  printf 'root:x:0:0::/root:/bin/bash\nec2-user:x:1000:1000::/home/ec2-user:/bin/bash\nappuser:x:990:990::/var/lib/app user:/sbin/nologin\n' >"$root/etc/passwd"
  printf 'root:*LOCK*:1::::::\nec2-user:!!:1::::::\nappuser:!:1::::::\n' >"$root/etc/shadow"
  chmod 000 "$root/etc/shadow"
  printf 'PasswordAuthentication no\nPermitRootLogin no\nKbdInteractiveAuthentication no\n' >"$root/etc/ssh/sshd_config"
  echo 'export PATH' >"$root/home/ec2-user/.bashrc"
}

plant() {
  local path
  for path in "$@"; do
    mkdir -p "$(dirname "$root/$path")"
    echo planted >"$root/$path"
  done
}

# named TITLE PATH: whether the audit's output names the path, or a folder that it is in, under the title.
named() {
  local path=$2
  while [[ $path == */* ]]; do
    grep -qxF "FOUND  $1: /$path" <<<"$output" && return
    path=${path%/*}
  done
  echo "not found by the audit: $2"
  return 1
}

# found_and_removed TITLE PATH...: the audit names each path under the title, cleaning removes it, the audit passes.
found_and_removed() {
  local title=$1 path
  shift
  run "$cleanup" --root "$root" --check
  [ "$status" -eq 1 ]
  for path in "$@"; do named "$title" "$path"; done
  run "$cleanup" --root "$root"
  echo "$output"
  [ "$status" -eq 0 ]
  run "$cleanup" --root "$root" --check
  [ "$status" -eq 0 ]
}

# gone PATH...: removed; emptied PATH...: still there, without content.
gone() {
  local path
  for path in "$@"; do [ ! -e "$root/$path" ] || return 1; done
}
emptied() {
  local path
  for path in "$@"; do [ -f "$root/$path" ] && [ ! -s "$root/$path" ] || return 1; done
}

# planted TITLE PATH...: of those that are removed.
planted() {
  plant "${@:2}"
  found_and_removed "$@"
  gone "${@:2}"
}

@test "a clean root passes the audit" {
  run "$cleanup" --root "$root" --check
  [ "$status" -eq 0 ]
  [[ $output == *"nothing is left"* ]]
}

@test "package caches and history" {
  planted 'package caches' var/cache/dnf/amazonlinux.solv var/cache/yum/x var/cache/ldconfig/aux-cache
  planted 'package history' var/lib/dnf/history.sqlite var/lib/dnf/history.sqlite-wal var/lib/yum/history/1
}

@test "the machine id is emptied, not removed, and there" {
  plant etc/machine-id var/lib/dbus/machine-id
  found_and_removed 'machine id' etc/machine-id var/lib/dbus/machine-id
  emptied etc/machine-id
  gone var/lib/dbus/machine-id
  rm "$root/etc/machine-id"
  found_and_removed 'machine id' etc/machine-id
  emptied etc/machine-id
}

@test "host name and resolver; a link into /run stays" {
  plant etc/hostname etc/resolv.conf
  found_and_removed 'host name and resolver' etc/hostname etc/resolv.conf
  emptied etc/hostname
  ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
  run "$cleanup" --root "$root"
  [ -L "$root/etc/resolv.conf" ]
}

@test "SSH host keys" { planted 'SSH host keys' etc/ssh/ssh_host_ed25519_key etc/ssh/ssh_host_ed25519_key.pub; }

@test "keys of every user, also of one with a home elsewhere" {
  planted 'authorized and private keys' home/ec2-user/.ssh/authorized_keys root/.ssh/authorized_keys root/.ssh/id_ed25519 \
    'var/lib/app user/.ssh/authorized_keys' home/somebody-removed/.ssh/authorized_keys
}

@test "cloud-init's state and what it lets in" {
  planted "cloud-init's state" var/lib/cloud/instance/user-data.txt var/lib/cloud/data/instance-id etc/sudoers.d/90-cloud-init-users
}

@test "network leases" { planted 'network leases' var/lib/dhclient/dhclient--eth0.lease var/lib/NetworkManager/internal-1.lease var/lib/NetworkManager/secret_key; }

@test "logs: journals and rotated ones go, current ones are emptied and keep their mode" {
  plant var/log/journal/0123/system.journal var/log/messages-20260101 var/log/dnf.log.1 var/log/cloud-init.log.gz \
    var/log/file-processor/worker.log var/log/amazon/ssm/amazon-ssm-agent.log
  plant var/log/wtmp var/log/btmp var/log/lastlog var/log/audit/audit.log var/log/user-data.log
  chmod 0600 "$root/var/log/btmp"
  mkdir -p "$root/var/log/journal"
  found_and_removed logs var/log/journal/0123/system.journal var/log/wtmp var/log/btmp var/log/lastlog var/log/audit/audit.log \
    var/log/messages-20260101 var/log/file-processor/worker.log var/log/user-data.log
  gone var/log/journal/0123 var/log/messages-20260101 var/log/dnf.log.1 var/log/cloud-init.log.gz var/log/file-processor/worker.log
  emptied var/log/wtmp var/log/btmp var/log/lastlog var/log/audit/audit.log
  [ "$(stat -c %a "$root/var/log/btmp")" = 600 ]
  # The journal is kept on disk only where this folder is.
  [ -d "$root/var/log/journal" ]
}

@test "the SSM agent's registration" { planted "SSM agent's registration" var/lib/amazon/ssm/Vault/Store/RegistrationKey var/lib/amazon/ssm/registration; }

@test "shell histories of every user" {
  planted 'shell histories' root/.bash_history home/ec2-user/.bash_history home/ec2-user/.python_history home/ec2-user/.lesshst 'var/lib/app user/.bash_history'
}

@test "temporary files, also hidden ones and services' private ones" {
  planted 'temporary files' tmp/script.sh tmp/.hidden var/tmp/systemd-private-0123-chronyd.service-x/tmp/f var/tmp/dnf-root-x/f
}

@test "random seed" { planted 'random seed' var/lib/systemd/random-seed var/lib/systemd/credential.secret boot/efi/loader/random-seed; }

@test "the agent's state goes, its configuration stays" {
  plant opt/aws/amazon-cloudwatch-agent/etc/file-processor-worker.json opt/aws/amazon-cloudwatch-agent/etc/common-config.toml
  planted "the CloudWatch agent's state" opt/aws/amazon-cloudwatch-agent/logs/amazon-cloudwatch-agent.log \
    opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.toml opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/file_x
  [ -s "$root/opt/aws/amazon-cloudwatch-agent/etc/file-processor-worker.json" ]
  [ -s "$root/opt/aws/amazon-cloudwatch-agent/etc/common-config.toml" ]
}

@test "our environment file, its copies, and settings in system files" {
  plant etc/file-processor/ami-manifest.json
  planted 'environment file and settings' etc/file-processor/env etc/file-processor/env~ etc/file-processor/env.bak \
    etc/file-processor/.env.swp etc/profile.d/file-processor.sh
  [ -s "$root/etc/file-processor/ami-manifest.json" ]
  printf 'LANG=ja_JP.UTF-8\nAWS_SECRET_ACCESS_KEY=x\n' >"$root/etc/environment"
  found_and_removed 'environment file and settings' etc/environment
  [ "$(cat "$root/etc/environment")" = LANG=ja_JP.UTF-8 ]
}

@test "the worker's state, dumps, mail" {
  planted "the worker's state" var/lib/file-processor-worker/x var/cache/file-processor-worker/spool/document.pdf
  planted 'core dumps, mail, spool' var/lib/systemd/coredump/core.worker.zst var/spool/mail/root
}

@test "compilers, git and source trees" {
  planted 'compilers and git' usr/bin/gcc usr/bin/git usr/local/bin/cargo
  plant opt/file-processor-worker/.git/config srv/x/Cargo.toml
  found_and_removed 'source trees' opt/file-processor-worker/.git srv/x/Cargo.toml
}

@test "homes keep the skeleton only" {
  planted 'what users left at home' home/ec2-user/file-processor-worker.rpm home/ec2-user/.aws/credentials root/.gitconfig home/ec2-user/build-ami.sh
  [ -s "$root/home/ec2-user/.bashrc" ]
}

@test "passwords are locked: a hash, or none at all" {
  chmod 600 "$root/etc/shadow"
  printf 'root:$6$hash:1::::::\nec2-user::1::::::\nappuser:!:1::::::\n' >"$root/etc/shadow"
  plant etc/shadow-
  run "$cleanup" --root "$root" --check
  [[ $output == *"FOUND  passwords: root"*"FOUND  passwords: ec2-user"* ]]
  run "$cleanup" --root "$root"
  [ "$status" -eq 0 ]
  [ "$(cat "$root/etc/shadow")" = $'root:!!:1::::::\nec2-user:!!:1::::::\nappuser:!:1::::::' ]
  gone etc/shadow-
}

@test "SSH takes no password and no root, whatever the files say now" {
  local config
  for config in 'PasswordAuthentication yes' 'Include /etc/ssh/sshd_config.d/*.conf' $'PermitRootLogin yes\nInclude /etc/ssh/sshd_config.d/*.conf' ''; do
    rm -f "$root"/etc/ssh/sshd_config.d/*
    printf '%s\n' "$config" >"$root/etc/ssh/sshd_config"
    echo 'PasswordAuthentication yes' >"$root/etc/ssh/sshd_config.d/50-redhat.conf"
    run "$cleanup" --root "$root" --check
    [ "$status" -eq 1 ]
    [[ $output == *"SSH logins by password or as root: PasswordAuthentication"* ]]
    run "$cleanup" --root "$root"
    [ "$status" -eq 0 ]
  done
  if command -v sshd >/dev/null; then
    sed -i "s|/etc/ssh/|$root/etc/ssh/|" "$root/etc/ssh/sshd_config"
    ssh-keygen -q -t ed25519 -N '' -f "$root/key"
    sshd -T -f "$root/etc/ssh/sshd_config" -h "$root/key" | grep -qx 'passwordauthentication no'
    sshd -T -f "$root/etc/ssh/sshd_config" -h "$root/key" | grep -qx 'permitrootlogin no'
  fi
}

@test "--check and --dry-run change nothing" {
  plant tmp/x etc/machine-id root/.bash_history
  local before
  before=$(find "$root" -printf '%p %s %T@\n' | sort)
  run "$cleanup" --root "$root" --check
  [ "$status" -eq 1 ]
  run "$cleanup" --root "$root" --dry-run
  [ "$status" -eq 0 ]
  [[ $output == *"would remove /tmp/x (temporary files)"* ]]
  [ "$(find "$root" -printf '%p %s %T@\n' | sort)" = "$before" ]
}

@test "cleaning twice is cleaning once" {
  plant tmp/x root/.bash_history
  "$cleanup" --root "$root"
  run "$cleanup" --root "$root"
  [ "$status" -eq 0 ]
}

# Only the guard is run: were it broken, this machine would be cleaned.
@test "a machine that is no Amazon Linux is left alone" {
  grep -q '^ID="\?amzn' /etc/os-release && skip 'this is Amazon Linux'
  run bash -c ". <(sed '/^main /d' '$cleanup'); refuse_other_machines"
  [ "$status" -eq 1 ]
  [[ $output == *"not Amazon Linux"* || $output == *"only root"* ]]
  run bash -c "grep -n -e refuse_other_machines -e ' clean\$' '$cleanup' | tail -n 2 | cut -d: -f2 | tr -d ' '"
  [ "$output" = $'refuse_other_machines\nclean' ]
}

@test "wrong usage is exit 2" {
  run "$cleanup" --rot /x
  [ "$status" -eq 2 ]
  run "$cleanup" --root /does/not/exist
  [ "$status" -eq 2 ]
}
