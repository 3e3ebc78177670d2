#!/usr/bin/env bats
# The workflows: correct by three readers, pinned, with least permissions, nothing of an event in a shell.

load support/deploy-tools

root=$BATS_TEST_DIRNAME/../..
workflows=$root/.github/workflows

@test "actionlint, with shellcheck for the steps" {
  tool=$(tool_actionlint) || skip "$tool"
  cd "$root"
  run "$tool" -color=false .github/workflows/*.yml
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "zizmor" {
  tool=$(tool_zizmor) || skip "$tool"
  run "$tool" --offline --no-progress --color=never "$workflows"
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "the workflow schema" {
  tool=$(tool_check_jsonschema) || skip "$tool"
  run "$tool" --builtin-schema vendor.github-workflows "$workflows"/*.yml
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "every action is a commit with its version beside it" {
  local uses
  while read -r uses; do
    [[ $uses =~ ^[-a-z]+/[-a-z]+@[0-9a-f]{40}\ #\ v[0-9]+\.[0-9]+\.[0-9]+$ ]] || {
      echo "not pinned: $uses"
      return 1
    }
  done < <(sed -n 's/^ *-* *uses: *//p' "$workflows"/*.yml)
}

@test "one action has one version" {
  run bash -c "sed -n 's/^ *-* *uses: *//p' '$workflows'/*.yml | sort -u | cut -d@ -f1 | uniq -d"
  [ -z "$output" ]
}

@test "no permission but those a job names; only what talks to AWS gets a token" {
  [ "$(grep -c '^permissions: {}$' "$workflows"/*.yml | cut -d: -f2 | sort -u)" = 1 ]
  [ "$(grep -h 'write$' "$workflows"/*.yml | sort -u | sed 's/^ *//')" = 'id-token: write' ]
  [ "$(grep -c 'id-token: write' "$workflows/build-and-deploy-ami.yml")" -eq "$(grep -c 'role-to-assume' "$workflows/build-and-deploy-ami.yml")" ]
}

@test "a step's shell sees inputs and results as variables only" {
  # Lines of run: blocks, with expressions in them.
  run awk '
    /^ *(- )?run:/ { match($0, /^ */); depth = RLENGTH; inside = 1; if ($0 ~ /\$\{\{/) print FILENAME ": " $0; next }
    inside && NF { match($0, /^ */); if (RLENGTH <= depth) inside = 0 }
    inside && /\$\{\{/ { print FILENAME ": " $0 }' "$workflows"/*.yml
  [ -z "$output" ]
}

@test "every script that a workflow runs is there, with the options it is given" {
  local line script option
  while read -r line; do
    script=${line%% *}
    [ -x "$root/$script" ] || {
      echo "missing: $script"
      return 1
    }
    for option in $(grep -o -- ' --[a-z-]*' <<<"$line"); do
      "$root/$script" --help | grep -q -- "$option" || {
        echo "$script has no $option"
        return 1
      }
    done
  done < <(grep -hv '^ *#' "$workflows"/*.yml | grep -oE '(^|[ /])scripts/[a-z-]+\.sh[^|;&)]*' | sed 's|^ *||; s|^/||')
}

@test "both strategies, and the smoke test after either" {
  grep -q 'scripts/blue-green-deploy.sh "\$AMI_ID"' "$workflows/build-and-deploy-ami.yml"
  grep -q 'scripts/deploy-new-ami.sh "\$AMI_ID"' "$workflows/build-and-deploy-ami.yml"
  [ "$(grep -n 'deploy-new-ami.sh --smoke-test' "$workflows/build-and-deploy-ami.yml" | cut -d: -f1)" -gt \
    "$(grep -n 'blue-green-deploy.sh' "$workflows/build-and-deploy-ami.yml" | cut -d: -f1)" ]
}

@test "CI runs what developers run, as root, which it needs" {
  grep -qx ' *run: sudo -E env "PATH=$PATH" "HOME=$HOME" ./scripts/test.sh' "$workflows/ci.yml"
  run setpriv --reuid nobody --regid nogroup --clear-groups env HOME="$BATS_TEST_TMPDIR" XDG_CACHE_HOME=/tmp/nobody-$$ "$root/scripts/test.sh"
  rm -rf "/tmp/nobody-$$"
  [ "$status" -eq 1 ]
  [[ $output == *"run this as root"* ]]
}
