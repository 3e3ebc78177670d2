# Shared by the tests of this folder; loaded, never run. scripts/deployment-tests.sh exports REPO_DIR and WORKER_BINARY.

bats_require_minimum_version 1.5.0

# A test file that is run by hand finds its checkout itself.
REPO_DIR=${REPO_DIR:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
export REPO_DIR
