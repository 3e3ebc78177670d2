# The units as systemd itself judges them, without booting.

load support/common

# exposure UNIT: the score of `systemd-analyze security`, 0 is best.
exposure() {
  systemd-analyze security --no-pager --offline=true --threshold=15 "$REPO_DIR/systemd/$1" >"$BATS_TEST_TMPDIR/security" || return
  sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p' "$BATS_TEST_TMPDIR/security"
}

# setting UNIT NAME: the values of a setting, a line each.
setting() { sed -n "s/^$2=//p" "$REPO_DIR/systemd/$1"; }

@test "systemd finds nothing to complain about in our units" {
  cd "$BATS_TEST_TMPDIR"
  cp "$REPO_DIR"/systemd/* .
  # Verification wants the programs to exist; those of the package are elsewhere.
  sed -i -E 's!^(Exec[A-Za-z]+=)/(usr/bin/file-processor-worker|app/)[^ ]*!\1/bin/true!' ./*.service
  run -0 systemd-analyze verify --man=no --recursive-errors=no ./*.service ./*.timer
  [ -z "$output" ]
}

@test "no unit is exposed by more than 1.5" {
  local unit score
  for unit in file-processor-worker{,-check,-unhealthy}.service; do
    score=$(exposure "$unit")
    [ -n "$score" ]
    note "exposure of $unit: $score"
  done
}

@test "the check runs in the worker's own sandbox" {
  sandbox_of() { sed -n '/^NoNewPrivileges=/,/^\[Install\]/p' "$REPO_DIR/systemd/$1" | grep '='; }
  [ -n "$(sandbox_of file-processor-worker.service)" ]
  diff <(sandbox_of file-processor-worker.service) <(sandbox_of file-processor-worker-check.service)
  local name
  for name in User Group EnvironmentFile UMask CacheDirectory StateDirectory WorkingDirectory LimitNOFILE; do
    [ "$(setting file-processor-worker.service $name)" = "$(setting file-processor-worker-check.service $name)" ]
  done
}

@test "children may build their own sandbox inside the unit's" {
  local allowed call
  allowed=" $(setting file-processor-worker.service SystemCallFilter | grep -v '^[@~]') "
  for call in landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp; do
    [[ $allowed == *" $call "* ]]
  done
}

@test "a wrong configuration is neither restarted nor a reason to replace the instance" {
  [[ " $(setting file-processor-worker.service RestartPreventExitStatus) " == *" 78 "* ]]
  [[ $(setting file-processor-worker-unhealthy.service ExecCondition) == *'"exit-code 78"'* ]]
  [ "$(setting file-processor-worker.service OnFailure)" = file-processor-worker-unhealthy.service ]
}

@test "the report counts restarts as the worker's start limit does" {
  local burst
  burst=$(setting file-processor-worker.service StartLimitBurst)
  [[ $(setting file-processor-worker-unhealthy.service ExecCondition) == *"-ge $burst'" ]]
}

@test "the daily check is over before the day of Japan begins, at any time of the year" {
  run -0 systemd-analyze calendar --base-time='2026-01-15 00:00:00 UTC' "$(setting file-processor-worker-check.timer OnCalendar)"
  [[ $output == *"2026-01-15 21:30:00 UTC"* ]]
}
