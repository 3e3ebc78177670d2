#!/usr/bin/env bats
# The Terraform module: form, validity, what it would make (with a mocked provider), and policy. Applied for real in
# apply.bats.

load support/cloud-tools

setup_file() {
  module=$(prepare_module "$BATS_FILE_TMPDIR/module") || unavailable=$module
  export module unavailable
}

# A file's setup cannot skip its tests.
setup() { [[ -z ${unavailable:-} ]] || skip "$unavailable"; }

@test "every file has Terraform's own form" {
  terraform fmt -check -diff -recursive "$REPO_DIR/packaging/terraform"
}

@test "the module is valid" {
  terraform -chdir="$module" validate -no-color
}

@test "with the example's values it is the deployment that operators know, and wrong values are refused" {
  run terraform -chdir="$module" test -no-color -var-file=terraform.tfvars.example
  echo "$output"
  [ "$status" -eq 0 ]
  grep -Eq '^Success! [0-9]{2,} passed, 0 failed' <<<"$output"
}

@test "every variable and every output is described, every variable has a type" {
  cd "$REPO_DIR/packaging/terraform"
  awk '
    /^(variable|output) "/ { name = $1 " " $2; described[name] = 0; typed[name] = ($1 == "output") }
    /^  description += "/ && length($0) > 30 { described[name] = 1 }
    /^  type +=/ { typed[name] = 1 }
    END { for (name in described) if (!described[name] || !typed[name]) { print "incomplete: " name; bad = 1 }; exit bad }
  ' variables*.tf outputs.tf
}

@test "checkov finds nothing that is not explained" {
  local checkov
  checkov=$(checkov_program) || skip "$checkov"
  # Of what its rules know of plain files; it may not go out for more.
  run "$checkov" --directory "$module" --framework terraform --skip-download --compact --quiet --skip-path '/\.terraform/'
  echo "$output"
  [ "$status" -eq 0 ]
}
