# The units as systemd itself judges them, without booting.

load support/common

@test "systemd finds nothing to complain about in our units" {
  cd "$BATS_TEST_TMPDIR"
  cp "$REPO_DIR"/systemd/* .
  # Verification wants the programs to exist; those of the package are elsewhere.
  sed -i -E 's|^(Exec[A-Za-z]+=)[^ ]+|\1/bin/true|' ./*.service
  run -0 systemd-analyze verify --man=no --recursive-errors=no ./*.service
  [ -z "$output" ]
}

@test "the exposure of the service is 1.5 at most" {
  run -0 systemd-analyze security --offline=true --threshold=15 "$REPO_DIR/systemd/file-processor-worker.service"
}
