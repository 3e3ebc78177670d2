# Shared by the tests of user data; loaded, never run. One boot of this system's systemd as PID 1, in a container over an
# overlay of / that is thrown away. The network, and with it every server on loopback, is this system's own.

# booted_system_prepare DIR: prints the root folder, or why there is none.
booted_system_prepare() {
  command -v systemd-nspawn >/dev/null || { echo "systemd-nspawn is not installed (systemd-container)" && return 1; }
  mkdir -p "$1"
  mount -t tmpfs -o size=2g tmpfs "$1" 2>/dev/null || { echo "nothing may be mounted here" && return 1; }
  mkdir "$1/upper" "$1/work" "$1/root"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root" 2>/dev/null ||
    { umount "$1" && echo "no overlay can be mounted here" && return 1; }
  # What this system starts by itself is not what is tested.
  rm -f "$1"/root/etc/systemd/system/{multi-user,timers}.target.wants/*
  printf '%s\n' "$1/root"
}

booted_system_leader() { pgrep -P "$(<"$1/nspawn.pid")" | head -n 1; }
booted_system_is_up() {
  [[ $(inside "$1" systemctl is-system-running 2>/dev/null) =~ ^(running|degraded)$ ]]
}
booted_system_is_gone() { ! kill -0 "$(<"$1/nspawn.pid")" 2>/dev/null; }

booted_system_start() {
  systemd-nspawn --quiet -D "$1/root" --boot --register=no --keep-unit --link-journal=no --console=pipe --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" -M "user-data-$$" \
    systemd.unit=multi-user.target systemd.mask=getty.target systemd.mask=console-getty.service \
    systemd.mask=systemd-networkd.service systemd.mask=systemd-resolved.service systemd.mask=systemd-timesyncd.service \
    </dev/null >"$1/console" 2>&1 3>&- &
  echo $! >"$1/nspawn.pid"
  wait_until 60 booted_system_is_up "$1" || { tail -n 30 "$1/console" && return 1; }
}

# inside DIR COMMAND...
inside() {
  local leader
  leader=$(booted_system_leader "$1") && [[ -n $leader ]] || return 1
  nsenter -t "$leader" -m -u -i -n -p -- "${@:2}"
}

booted_system_stop() {
  [[ -d $1/root ]] || return 0
  if [[ -s $1/nspawn.pid ]]; then
    inside "$1" systemctl poweroff --force >/dev/null 2>&1 || true
    wait_until 20 booted_system_is_gone "$1" || kill -KILL "$(<"$1/nspawn.pid")" || true
  fi
  umount -R "$1/root" 2>/dev/null || umount -l "$1/root" || true
  umount "$1" 2>/dev/null || umount -l "$1" || true
}
