#!/usr/bin/env bash
# The last step on the builder before its image is made: removes what is of this one machine, of its builders, or secret,
# then audits that each of it is gone. Afterwards nobody can log in. Needs nothing but what Amazon Linux 2023 has.
#   sudo bash ami-cleanup.sh [--power-off]   clean, then audit; --power-off ends the machine when the audit passed
#   sudo bash ami-cleanup.sh --check         only audit; changes nothing
#   ami-cleanup.sh --dry-run                 say what would be done; changes nothing
#
#   --root DIR   a machine whose files are under DIR instead of the running one
# Exit codes: 0 nothing is left; 1 the audit found something, or this is not a builder; 2 wrong usage
set -euo pipefail

root='' check='' dry_run='' power_off=''

say() { printf '%s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}
show_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

# What is audited, in the order in which it is cleaned: what writes logs comes before the logs, what a person needs to
# look at a failure comes last. Each has a function leftovers_NAME that prints what is left, a line each:
# ACTION <tab> PATH or user, with an ACTION of apply().
items=(settings own_state agent_state package_caches package_history build_tools sources cloud_init leases dumps random_seed
  host_names machine_id ssm temporary passwords sshd host_keys logs histories keys homes)

declare -A titles=(
  [settings]='environment file and settings' [own_state]="the worker's state" [agent_state]="the CloudWatch agent's state"
  [package_caches]='package caches' [package_history]='package history' [build_tools]='compilers and git'
  [sources]='source trees' [cloud_init]="cloud-init's state" [leases]='network leases' [dumps]='core dumps, mail, spool'
  [random_seed]='random seed' [host_names]='host name and resolver' [machine_id]='machine id' [ssm]="SSM agent's registration"
  [temporary]='temporary files' [passwords]='passwords' [sshd]='SSH logins by password or as root' [host_keys]='SSH host keys'
  [logs]='logs' [histories]='shell histories' [keys]='authorized and private keys' [homes]='what users left at home'
)

# list ACTION PATTERN...: what exists of it under the root. Patterns are globs relative to the root.
list() {
  local action=$1 pattern path
  shift
  for pattern in "$@"; do
    # Word splitting is off, so that only the globs expand.
    local IFS=''
    # shellcheck disable=SC2206
    local matches=("$root"/$pattern)
    for path in "${matches[@]}"; do
      [[ -e $path || -L $path ]] || continue
      printf '%s\t%s\n' "$action" "$path"
    done
  done
}

# Home folders of all users, also those whose users are gone.
homes() {
  local home
  {
    if [[ -f $root/etc/passwd ]]; then cut -d: -f 6 "$root/etc/passwd"; fi
    printf '%s\n' /root
    find "$root/home" -mindepth 1 -maxdepth 1 -type d -printf '/home/%f\n' 2>/dev/null || true
  } | sort -u | while read -r home; do
    # Folders that are many users' home without being one's own.
    case $home in / | /bin | /sbin | /dev | /usr* | /proc* | /run* | /etc* | /nonexistent | '') continue ;; esac
    [[ -d $root$home ]] || continue
    printf '%s\n' "$home"
  done
}

leftovers_settings() {
  list remove 'etc/file-processor/env' 'etc/file-processor/env[.~-]*' 'etc/file-processor/.env*' 'etc/file-processor/#env*' \
    'etc/profile.d/file-processor*.sh'
  local file
  for file in "$root"/etc/environment "$root"/etc/profile.d/*.sh "$root"/etc/systemd/system/file-processor-worker*.d/*.conf \
    "$root"/etc/systemd/system.conf.d/*.conf; do
    [[ -f $file && $(basename "$file") != file-processor*.sh ]] || continue
    if grep -Eq "$settings_pattern" "$file"; then printf 'lines\t%s\n' "$file"; fi
  done
}
settings_pattern='(SQS_QUEUE_URL|DLQ_QUEUE_URL|OPENSEARCH_[A-Z]+|AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_SESSION_TOKEN)='

leftovers_own_state() { list remove 'var/lib/file-processor-worker/*' 'var/cache/file-processor-worker/*' 'var/lib/private/file-processor-worker'; }

# Its configuration stays; what it was told on this machine, and how far it read, does not.
leftovers_agent_state() {
  list remove 'opt/aws/amazon-cloudwatch-agent/'{'logs/*','var/*','etc/amazon-cloudwatch-agent.d/*'} \
    'opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.'{json,toml,yaml} \
    'opt/aws/amazon-cloudwatch-agent/etc/'{env-config.json,log-config.json,cloudwatch-config.json}
}

leftovers_package_caches() { list remove 'var/cache/'{dnf,yum,libdnf5}'/*' 'var/cache/ldconfig/aux-cache'; }
leftovers_package_history() { list remove 'var/lib/dnf/history*' 'var/lib/yum/history/*' 'var/lib/dnf/modulefailsafe/*' 'usr/lib/sysimage/libdnf5/transaction_history*'; }

leftovers_build_tools() {
  list package 'usr/bin/'{gcc,g++,cc,c++,clang,clang++,cmake,make,git,cargo,rustc,go} \
    'usr/local/bin/'{gcc,g++,cc,clang,cmake,make,git,cargo,rustc,go}
}

leftovers_sources() {
  local folder
  for folder in home root opt srv app usr/src usr/local var/lib; do
    [[ ! -d $root/$folder ]] || find "$root/$folder" -xdev \( -name .git -o -name .cargo -o -name .rustup -o -name Cargo.toml \) -prune -printf 'remove\t%p\n'
  done
  list remove 'usr/src/'{rpm,tesseract,leptonica,file-processor}'*'
}

leftovers_cloud_init() { list remove 'var/lib/cloud/*' 'etc/sudoers.d/90-cloud-init-users' 'etc/ssh/sshd_config.d/50-cloud-init.conf'; }
leftovers_leases() { list remove 'var/lib/dhclient/*' 'var/lib/dhcp/*' 'var/lib/NetworkManager/'{'*lease*',secret_key,seen-bssids,timestamps} 'var/lib/systemd/network/*'; }
leftovers_dumps() { list remove 'var/lib/systemd/coredump/*' 'var/crash/*' 'var/spool/'{mail,cron,at}'/*' 'var/lib/logrotate/logrotate.status'; }
leftovers_random_seed() { list remove 'var/lib/systemd/'{random-seed,credential.secret} 'var/lib/random-seed' 'boot/loader/random-seed' 'boot/efi/loader/random-seed'; }
leftovers_host_keys() { list remove 'etc/ssh/ssh_host_*'; }
leftovers_ssm() { list remove 'var/lib/amazon/ssm/*'; }

# nonempty PATH...: files whose content goes while they stay.
nonempty() {
  local path
  for path in "$@"; do
    [[ ! -f $root$path || -L $root$path || ! -s $root$path ]] || printf 'empty\t%s\n' "$root$path"
  done
}

# The resolver's file is usually a link into /run.
leftovers_host_names() { nonempty /etc/hostname /etc/resolv.conf; }

# systemd fills an empty one on the first boot; without one, root file systems that are still read-only make trouble.
leftovers_machine_id() {
  nonempty /etc/machine-id
  [[ -e $root/etc/machine-id || ! -d $root/etc ]] || printf 'empty\t%s\n' "$root/etc/machine-id"
  [[ -L $root/var/lib/dbus/machine-id ]] || list remove 'var/lib/dbus/machine-id'
}

leftovers_temporary() { list remove 'tmp/*' 'tmp/.[!.]*' 'var/tmp/*' 'var/tmp/.[!.]*'; }

leftovers_passwords() {
  list remove 'etc/shadow-' 'etc/gshadow-' 'etc/security/opasswd.old'
  # A field that begins with ! or * lets nobody in; an empty one lets everybody in.
  [[ ! -f $root/etc/shadow ]] || awk -F: '$2 !~ /^[!*]/ { print "lock\t" $1 }' "$root/etc/shadow"
}

# sshd takes the first value that it finds; included files count where they are included.
sshd_says() {
  local option=$1 file=$root/etc/ssh/sshd_config line keyword value
  {
    while IFS= read -r line; do
      read -r keyword value <<<"$line"
      case ${keyword,,} in
        include)
          local included
          [[ $value == /* ]] || value=/etc/ssh/$value
          for included in "$root"${value}; do [[ ! -f $included ]] || cat "$included"; done
          ;;
        match) break ;;
        *) printf '%s\n' "$line" ;;
      esac
    done <"$file"
  } | awk -v option="${option,,}" 'tolower($1) == "match" { exit } tolower($1) == option { print tolower($2); exit }'
}

leftovers_sshd() {
  [[ -f $root/etc/ssh/sshd_config ]] || return 0
  local option
  for option in PasswordAuthentication PermitRootLogin KbdInteractiveAuthentication; do
    [[ $(sshd_says "$option") == no ]] || printf 'sshd\t%s\n' "$option"
  done
}

leftovers_logs() {
  [[ -d $root/var/log ]] || return 0
  # A journal's folder is named by the machine id.
  list remove 'var/log/journal/*' 'var/log/file-processor/*' 'var/log/amazon/ssm/*'
  # Rotated files go; what programs append to is emptied, so that its owner and mode stay.
  find "$root/var/log" -xdev \( -path '*/journal/*' -o -path '*/file-processor/*' -o -path '*/amazon/ssm/*' \) -prune -o \
    -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.old' -o -name '*.[0-9]' -o -name '*-20[0-9]*' \) -printf 'remove\t%p\n' -o \
    -type f -size +0 -printf 'empty\t%p\n'
}

leftovers_histories() {
  local home
  homes | while read -r home; do
    list remove "${home#/}/."{'*_history','*hist','lesshst','viminfo','wget-hsts','sqlite_history'}
  done
}

leftovers_keys() {
  local home
  homes | while read -r home; do
    list remove "${home#/}/.ssh/*" "${home#/}/.ssh/.[!.]*"
  done
}

# Of people's homes only what every new user gets stays; system users' state is above.
leftovers_homes() {
  local home
  homes | while read -r home; do
    case $home in /root | /home/*) ;; *) continue ;; esac
    find "$root$home" -mindepth 1 -maxdepth 1 ! -name .bash_logout ! -name .bash_profile ! -name .bashrc ! -name .profile \
      ! -name .zshrc ! -name .cshrc ! -name .tcshrc ! -name .ssh -printf 'remove\t%p\n'
  done
}

lock_password() {
  local copy
  copy=$(mktemp "$root/etc/.shadow.XXXXXX")
  awk -F: -v OFS=: -v user="$1" '$1 == user { $2 = "!!" } { print }' "$root/etc/shadow" >"$copy"
  # The content goes into the file that is there: its mode, owner and label stay.
  cat "$copy" >"$root/etc/shadow"
  rm -f "$copy"
}

# Our file has to be the first that is included; cloud-init's has 50.
harden_sshd() {
  local file=$root/etc/ssh/sshd_config copy
  mkdir -p "$root/etc/ssh/sshd_config.d"
  printf '# Logins are by key, or by SSM without any; never by password, never as root.\n%s no\n%s no\n%s no\n' \
    PasswordAuthentication PermitRootLogin KbdInteractiveAuthentication >"$root/etc/ssh/sshd_config.d/00-file-processor.conf"
  chmod 600 "$root/etc/ssh/sshd_config.d/00-file-processor.conf"
  [[ -n $(leftovers_sshd) ]] || return 0
  copy=$(mktemp "$root/etc/ssh/.sshd_config.XXXXXX")
  { printf 'Include /etc/ssh/sshd_config.d/*.conf\n' && cat "$file"; } >"$copy"
  cat "$copy" >"$file"
  rm -f "$copy"
}

remove_package() {
  if [[ -z $root ]] && command -v dnf >/dev/null; then
    dnf -q -y remove "$(rpm -qf "$1")" >/dev/null || true
  fi
  rm -f "$1"
}

# apply ACTION WHAT
apply() {
  case $1 in
    remove) rm -rf --one-file-system -- "$2" ;;
    empty) : >"$2" ;;
    lines) sed -E -i "/$settings_pattern/d" "$2" ;;
    lock) lock_password "$2" ;;
    sshd) harden_sshd ;;
    package) remove_package "$2" ;;
    *) die "no such action: $1" ;;
  esac
}

# A running machine goes on writing; what writes is stopped first.
stop_services() {
  local unit folder
  # These save something when they stop, as late as at the shutdown: then let it be now.
  systemctl stop systemd-random-seed.service systemd-update-utmp.service 2>/dev/null || true
  for unit in amazon-cloudwatch-agent rsyslog crond atd chronyd file-processor-worker-check.timer logrotate.timer; do
    systemctl stop "$unit" 2>/dev/null || true
  done
  # Services with a private /tmp: the folder has the unit's name in it. What everything else needs keeps running.
  for folder in /tmp/systemd-private-* /var/tmp/systemd-private-*; do
    unit=$(sed -n 's/.*systemd-private-[0-9a-f]*-\(.*\.service\)-.*/\1/p' <<<"$folder")
    case $unit in '' | systemd-* | dbus* | amazon-ssm-agent*) continue ;; esac
    systemctl stop "$unit" 2>/dev/null || true
  done
  # The SSM agent writes its state when it stops, too. A session that hangs on it would end here: it goes on without.
  grep -q amazon-ssm-agent /proc/self/cgroup || systemctl stop amazon-ssm-agent 2>/dev/null || true
  # auditd refuses systemctl.
  [[ ! -f /run/auditd.pid ]] || kill "$(</run/auditd.pid)" 2>/dev/null || true
  journalctl --quiet --relinquish-var 2>/dev/null || true
}

clean() {
  local item number=0 action what count
  [[ -n $root || -n $dry_run ]] || stop_services
  for item in "${items[@]}"; do
    number=$((number + 1)) count=0
    while IFS=$'\t' read -r action what; do
      [[ -n $action ]] || continue
      count=$((count + 1))
      if [[ -n $dry_run ]]; then
        say "would $action ${what#"$root"} (${titles[$item]})"
      else
        apply "$action" "$what"
      fi
    done <<<"$("leftovers_$item")"
    [[ -n $dry_run ]] || say "[$number/${#items[@]}] ${titles[$item]}: $count cleaned"
  done
}

# audit: everything that is left, by name.
audit() {
  local item action what found=0 lines
  for item in "${items[@]}"; do
    lines=$("leftovers_$item")
    if [[ -z $lines ]]; then
      say "ok     ${titles[$item]}"
      continue
    fi
    while IFS=$'\t' read -r action what; do
      found=$((found + 1))
      say "FOUND  ${titles[$item]}: ${what#"$root"}"
    done <<<"$lines"
  done
  ((found == 0)) || {
    say "$found left; see above"
    return 1
  }
  say "nothing is left of ${#items[@]} kinds"
}

refuse_other_machines() {
  [[ -z $root ]] || return 0
  ((EUID == 0)) || die "only root sees and removes everything: run it with sudo"
  [[ -z $check && -z $dry_run ]] || return 0
  grep -q '^ID="\?amzn"\?$' /etc/os-release || die "this is not Amazon Linux; it would wreck a machine that somebody uses"
  ! systemctl is-active --quiet file-processor-worker.service || die "the worker runs here: this is no builder"
}

# Open shells would write their histories while the machine goes down.
end_machine() {
  local shell
  for shell in $(ps -eo pid=,tty=,comm= | awk '$2 != "?" && $3 ~ /^(ba|z|k|c)?sh$/ { print $1 }'); do
    [[ $shell == "$$" ]] || kill -KILL "$shell" 2>/dev/null || true
  done
  systemctl poweroff
}

main() {
  while (($#)); do
    case $1 in
      -h | --help) show_help && exit ;;
      --check) check=1 ;;
      --dry-run) dry_run=1 ;;
      --power-off) power_off=1 ;;
      --root)
        [[ -n ${2:-} && -d ${2:-} ]] || {
          printf '%s: --root needs a folder\n' "$(basename "$0")" >&2
          exit 2
        }
        root=$(realpath "$2")
        [[ $root != / ]] || root=''
        shift
        ;;
      *)
        printf '%s: unknown argument %s; see --help\n' "$(basename "$0")" "$1" >&2
        exit 2
        ;;
    esac
    shift
  done
  refuse_other_machines
  if [[ -n $check ]]; then
    audit
    exit
  fi
  clean
  [[ -z $dry_run ]] || exit 0
  audit
  if [[ -n $power_off && -z $root ]]; then
    say "powering off: the image can be made"
    end_machine
  elif [[ -z $root ]]; then
    say "nobody can log in any more. Leave by kill -9 \$\$ (exit would write this shell's history), then: build-ami.sh image --instance-id i-..."
  fi
}

# One function, read as a whole before it runs: the file itself is among what is removed.
main "$@"
