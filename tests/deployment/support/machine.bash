# Machines of a moment: systemd as PID 1 in a container over a copy of this system (an overlay, nothing is written to it),
# with our RPM installed. The network is this system's own, so the test servers are where they are for everybody.
# Limits of memory and processor are not enforced inside; everything else of a unit is.

machines_dir() { echo "$DEPLOYMENT_WORK/machines"; }
machine_root() { echo "$(machines_dir)/$1/root"; }

# machine_mount NAME: a copy of this system, not booted.
machine_mount() {
  local dir
  dir=$(machines_dir)/$1
  mkdir -p "$dir"
  mount -t tmpfs -o size=2g tmpfs "$dir"
  mkdir "$dir/upper" "$dir/work" "$dir/root"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
  # What this system starts is not what is tested.
  rm -f "$dir"/root/etc/systemd/system/{multi-user,timers}.target.wants/*
  # systemd-nspawn copies the modes of device files from this system, where somebody may have broken them.
  echo 'z /dev/null 0666 root root' >"$dir/root/etc/tmpfiles.d/test-machine.conf"
}

machine_unmount() {
  local dir
  dir=$(machines_dir)/$1
  umount -R "$dir/root" 2>/dev/null || umount -l "$dir/root" || true
  umount "$dir" 2>/dev/null || umount -l "$dir" || true
}

# machine_rpm NAME ARGUMENTS...: rpm on a machine that is not booted. Debian's packages are not in RPM's database, so
# what ours requires is unknown there.
machine_rpm() {
  local name=$1
  shift
  rpm --root "$(machine_root "$name")" --dbpath /var/lib/rpm "$@"
}

# machine_cgroups NAME: the machine's control group in each hierarchy that systemd keeps units in. Machines in one group
# would share those of units of the same name, and a systemd waits for the other's worker before it starts its own again.
machine_cgroups() {
  local hierarchy controllers path mount
  while IFS=: read -r hierarchy controllers path; do
    case $hierarchy:$controllers in
      0:) mount=$(findmnt --first-only --noheadings --output TARGET --types cgroup2) ;;
      *:name=systemd) mount=$(findmnt --first-only --noheadings --output TARGET --types cgroup --options name=systemd) ;;
      *) continue ;;
    esac
    echo "$mount${path%/}/machine-$1-$$"
  done </proc/self/cgroup
}

# machine_boot NAME
machine_boot() {
  local name=$1 dir cgroups cgroup
  dir=$(machines_dir)/$name
  machine_cgroups "$name" >"$dir/cgroups"
  mapfile -t cgroups <"$dir/cgroups"
  for cgroup in "${cgroups[@]}"; do mkdir -p "$cgroup"; done
  (
    for cgroup in "${cgroups[@]}"; do echo "$BASHPID" >"$cgroup/cgroup.procs"; done
    exec systemd-nspawn --quiet -D "$dir/root" --boot --register=no --keep-unit --link-journal=no --console=pipe \
      --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" -M "$name-$$" \
      systemd.unit=multi-user.target systemd.mask=getty.target systemd.mask=console-getty.service \
      systemd.mask=systemd-networkd.service systemd.mask=systemd-resolved.service \
      systemd.mask=systemd-timesyncd.service
  ) </dev/null >"$dir/console" 2>&1 3>&- &
  echo $! >"$dir/nspawn"
  wait_for 30 "machine $name to boot" machine_is_up "$name"
}

machine_is_up() {
  local dir leader
  dir=$(machines_dir)/$1
  leader=$(pgrep -P "$(<"$dir/nspawn")" | head -n 1) || return 1
  echo "$leader" >"$dir/leader"
  on_machine "$1" systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'
}

# on_machine NAME COMMAND...: a command that hangs is a failed one.
on_machine() {
  local leader
  leader=$(<"$(machines_dir)/$1/leader")
  shift
  timeout --kill-after=5 130 nsenter -t "$leader" -m -u -i -n -p -- "$@"
}

machine_stop() {
  local dir pid
  dir=$(machines_dir)/$1
  if [[ -s $dir/nspawn ]]; then
    pid=$(<"$dir/nspawn")
    on_machine "$1" systemctl poweroff --force 2>/dev/null || true
    # Without its first process nothing of the machine lives on, whatever becomes of systemd-nspawn.
    wait_for 20 "machine $1 to end" process_is_gone "$pid" || kill -KILL "$(<"$dir/leader")" "$pid" || true
    # Kept by a process that is not gone yet; an empty group harms nobody.
    xargs --arg-file "$dir/cgroups" sh -c 'find "$@" -depth -type d -exec rmdir {} +' find 2>/dev/null || true
  fi
  machine_unmount "$1"
}

process_is_gone() { ! kill -0 "$1" 2>/dev/null; }

# property NAME PROPERTY [UNIT]
property() { on_machine "$1" systemctl show --property="$2" --value "${3:-file-processor-worker.service}"; }

# is NAME PROPERTY VALUE [UNIT]: for wait_for.
is() { [[ $(property "$1" "$2" "${4:-file-processor-worker.service}") == "$3" ]]; }

# journal_of NAME [ARGUMENTS...]: the lines of the worker's unit.
journal_of() {
  local name=$1
  shift
  on_machine "$name" journalctl --no-pager --output=cat --unit=file-processor-worker.service "$@"
}

# journal_says NAME TEXT
journal_says() { journal_of "$1" | grep -qF -- "$2"; }
