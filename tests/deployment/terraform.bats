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

# calls_of SCRIPT...: what the scripts ask of AWS, by IAM's names. Who one is may be asked without a permission.
calls_of() {
  (cd "$REPO_DIR/scripts" && grep -ohE '(aws_(read|change)|aws_try (reading|changing)) [a-z0-9]+ [a-z-]+' "$@") |
    awk '{ count = split($NF, word, "-"); name = ""
      for (at = 1; at <= count; at++) name = name toupper(substr(word[at], 1, 1)) substr(word[at], 2)
      print $(NF - 1) ":" name }' | grep -vxF sts:GetCallerIdentity | sort -u
}

# actions_of DOCUMENT: what the policy document allows.
actions_of() {
  sed -n "/^data \"aws_iam_policy_document\" \"$1\"/,/^}/p" "$REPO_DIR"/packaging/terraform/*.tf |
    grep -vE '^ *variable ' | grep -oE '"[a-z0-9]+:[A-Z][A-Za-z]+"' | tr -d '"' | sort -u
}

@test "the workflow's deploy role may do what its scripts call, and nothing more" {
  local script scripts=(deploy-steps.sh group-shape.sh)
  for script in $(grep -oE '^ +run: scripts/[a-z-]+\.sh' "$REPO_DIR/.github/workflows/build-and-deploy-ami.yml" | grep -oE '[a-z-]+\.sh'); do
    scripts+=("$script")
  done
  ((${#scripts[@]} >= 5))
  # Not called, but checked by Auto Scaling and SQS of whoever calls them.
  diff <(calls_of "${scripts[@]}") <(actions_of deploy | grep -vxE 'ec2:RunInstances|ec2:CreateTags|iam:PassRole|kms:[A-Za-z]+')
}

@test "the tags by which the image role knows the builder are those that Packer gives it" {
  local name
  name=$(sed -n 's/^ *builder_name *= "\(.*\)"/\1/p' "$REPO_DIR/packaging/terraform/github.tf")
  [ -n "$name" ]
  [ "$(grep -cE "^ *run(_volume)?_tags += \{ Name = \"$name\", Application = \"file-processor\"" "$REPO_DIR/packaging/packer/file-processor-worker.pkr.hcl")" -eq 2 ]
}
