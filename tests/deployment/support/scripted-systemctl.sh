#!/bin/bash
# A systemctl for the tests of user data. Files in $world say how it goes:
#   checks   a line a start of the check unit: its exit status, then the line of its report (default: all is well)
#   states   what is-active says of the service from its start on, one word after the other, the last for ever; before
#            the start it is inactive, unless the only word is active (default: active)
set -u
: "${calls:?}" "${world:?}" "${root:?}"
printf 'systemctl %s\n' "$*" >>"$calls"

state() {
  local words
  read -r -a words <"$world/states"
  printf '%s\n' "${words[0]}"
  ((${#words[@]} == 1)) || printf '%s\n' "${words[*]:1}" >"$world/states"
}

case "$*" in
  "start file-processor-worker-check.service")
    answer='0 ok      configuration      every variable is valid'
    if [[ -s $world/checks ]]; then
      answer=$(head -n 1 "$world/checks")
      sed -i 1d "$world/checks"
    fi
    printf '%s\n' "${answer#* }" >"$root/var/log/file-processor-check.log"
    exit "${answer%% *}"
    ;;
  "start file-processor-worker.service" | "restart file-processor-worker.service")
    : >"$world/started"
    [[ -f $world/states ]] || echo active >"$world/states"
    [[ $(<"$world/states") == active ]]
    ;;
  "is-active --quiet file-processor-worker.service")
    [[ -f $world/states && $(<"$world/states") == active ]]
    ;;
  "is-active file-processor-worker.service")
    now=inactive
    [[ ! -f $world/started ]] || now=$(state)
    printf '%s\n' "$now"
    [[ $now == active ]]
    ;;
  "cat file-processor-worker-check.service" | "reset-failed file-processor-worker.service") ;;
  "show file-processor-worker.service "*) echo "ActiveState=failed" ;;
  *)
    echo "scripted systemctl: unexpected: $*" >&2
    exit 97
    ;;
esac
