# shellcheck shell=bash
# Tools that the tests of workflows and of the Packer template need, at pinned versions, kept in the user cache. Each
# tool_NAME prints the path of the tool, installing it the first time; it fails with a sentence when that is impossible.

actionlint_version=v1.7.7
zizmor_version=1.32.0
check_jsonschema_version=0.39.0
awscli_version=1.45.11
tools_cache=${XDG_CACHE_HOME:-$HOME/.cache}/file-processor-worker/tools

tool_actionlint() {
  local path=$tools_cache/actionlint-$actionlint_version/actionlint
  if [[ ! -x $path ]]; then
    PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || {
      echo 'actionlint needs Go to be built'
      return 1
    }
    GOBIN=$(dirname "$path") go install "github.com/rhysd/actionlint/cmd/actionlint@$actionlint_version" >&2 || {
      echo 'actionlint could not be installed as a Go module'
      return 1
    }
  fi
  printf '%s\n' "$path"
}

# python_tool NAME VERSION [PACKAGE]: in a virtual environment of its own, which appears whole or not at all.
python_tool() {
  local folder=$tools_cache/$1-$2
  if [[ ! -x $folder/bin/$1 ]]; then
    rm -rf "$folder"
    mkdir -p "$tools_cache"
    if ! python3 -m venv "$folder" >&2 || ! "$folder/bin/pip" install -q --disable-pip-version-check "${3:-$1}==$2" >&2; then
      rm -rf "$folder"
      echo "$1 $2 could not be installed by pip"
      return 1
    fi
  fi
  printf '%s\n' "$folder/bin/$1"
}

tool_zizmor() { python_tool zizmor "$zizmor_version"; }
tool_check_jsonschema() { python_tool check-jsonschema "$check_jsonschema_version"; }

# The distribution's; other sources have licences of their own.
tool_packer() {
  if ! command -v packer >/dev/null && ((EUID == 0)) && command -v apt-get >/dev/null; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends packer >&2 || true
  fi
  command -v packer || {
    echo 'packer is not installed, and apt has none'
    return 1
  }
}

# A Python with the real CLI's code in it.
tool_awscli_python() {
  local folder
  folder=$(python_tool aws "$awscli_version" awscli) || {
    echo "$folder"
    return 1
  }
  printf '%s\n' "${folder%/aws}/python"
}
