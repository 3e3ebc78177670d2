# Shared by the tests of Terraform and user data; loaded, never run. Finds or installs their tools, all below the user
# cache, and starts the local AWS. What cannot be had is said on stdout with a non-zero status, for bats' skip.
#
# TF_PLUGIN_DIR   a filesystem mirror of Terraform's providers (default: looked for in the usual places; else the network)
# WORKER_BINARY   the release build of file-processor-worker (default: that of the user cache)

REPO_DIR=${REPO_DIR:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
deployment_dir=$REPO_DIR/tests/deployment
cloud_cache=${XDG_CACHE_HOME:-$HOME/.cache}/file-processor-worker
provider_version=5.100.0

# Where no file is, Terraform would complain in every answer.
[[ -f ${TF_CLI_CONFIG_FILE:-/} ]] || unset TF_CLI_CONFIG_FILE
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1

# Negated commands end no test; this does.
refute() { ! "$@"; }

# in_library COMMAND...: with the functions of scripts/lib.sh, whose settings must not reach bats.
in_library() { bash -c '. "$0/scripts/lib.sh"; "$@"' "$REPO_DIR" "$@"; }

python_tag() { python3 -c 'import sys; print(f"py{sys.version_info[0]}{sys.version_info[1]}")'; }

# The folder of moto's packages; compiled ones belong to one version of Python.
moto_packages() {
  local requirements=$deployment_dir/moto/requirements.txt folder
  folder=$cloud_cache/moto-$(sha256sum <"$requirements" | cut -c1-12)-$(python_tag) || return 1
  in_library pip_into "$folder" "$requirements" >&2 || { echo "pip cannot fetch moto" && return 1; }
  printf '%s\n' "$folder"
}

# The program checkov, in an environment of its own; marked when it is whole.
checkov_program() {
  local requirements=$deployment_dir/support/checkov.txt folder
  folder=$cloud_cache/checkov-$(sha256sum <"$requirements" | cut -c1-12)-$(python_tag) || return 1
  if [[ ! -f $folder/complete ]]; then
    rm -rf "$folder"
    if ! { python3 -m venv "$folder" && "$folder/bin/python" -m pip install -q --disable-pip-version-check --no-deps \
      -r "$requirements" && touch "$folder/complete"; } >&2; then
      echo "pip cannot fetch checkov"
      return 1
    fi
  fi
  printf '%s\n' "$folder/bin/checkov"
}

# The folder of cloud-init's Python package, as Debian ships it. Unpacked, not installed: installed, it would configure
# this machine at its next boot.
cloud_init_packages() {
  local folder=$cloud_cache/cloud-init part
  if [[ ! -d $folder ]]; then
    in_library ensure_packages python3-yaml python3-jsonschema python3-jinja2 python3-configobj python3-oauthlib \
      python3-jsonpatch python3-requests >&2 || { echo "apt-get cannot install what cloud-init needs" && return 1; }
    part=$(mktemp -d "$cloud_cache/cloud-init.XXXXXX")
    if ! (cd "$part" && apt-get download -q cloud-init && dpkg -x ./*.deb "$part/tree") >&2; then
      rm -rf "$part"
      echo "apt-get cannot fetch cloud-init"
      return 1
    fi
    mv -T "$part/tree" "$folder" 2>/dev/null || true
    rm -rf "$part"
  fi
  printf '%s\n' "$folder/usr/lib/python3/dist-packages"
}

# --- Terraform ---

plugin_dir() {
  local found
  if [[ -n ${TF_PLUGIN_DIR:-} ]]; then
    printf '%s\n' "$TF_PLUGIN_DIR"
    return
  fi
  found=$(find /opt /usr/local/share /usr/share/terraform "$HOME/.terraform.d" -maxdepth 6 -type d \
    -path "*/hashicorp/aws/$provider_version" -print -quit 2>/dev/null)
  [[ -z $found ]] || dirname "$(dirname "$(dirname "$(dirname "$found")")")"
}

# prepare_module DIR: a copy of the module that can be worked in, with its provider; prints the copy's folder.
prepare_module() {
  local copy=$1/packaging/terraform plugins options=()
  if ! command -v terraform >/dev/null; then
    echo "terraform is not installed"
    return 1
  fi
  mkdir -p "$1/packaging" "$1/scripts"
  cp -r "$REPO_DIR/packaging/terraform" "$copy"
  cp "$REPO_DIR/scripts/user-data.sh" "$1/scripts/"
  plugins=$(plugin_dir)
  [[ -z $plugins ]] || options+=("-plugin-dir=$plugins")
  if ! terraform -chdir="$copy" init -backend=false -input=false -no-color "${options[@]}" >"$1/init.log" 2>&1; then
    cat "$1/init.log" >&2
    echo "terraform has no provider: set TF_PLUGIN_DIR to a mirror with hashicorp/aws $provider_version"
    return 1
  fi
  printf '%s\n' "$copy"
}

# --- the local AWS ---

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# wait_until SECONDS COMMAND...
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

moto_answers() { curl -sf --noproxy '*' -o /dev/null "$MOTO_URL/moto-api/data.json"; }

# start_moto LOG: exports MOTO_URL and MOTO_PID, and everything that makes AWS's clients use it.
start_moto() {
  local packages port
  packages=$(moto_packages) || { echo "$packages" && return 1; }
  port=$(free_port)
  PYTHONPATH=$packages python3 "$deployment_dir/moto/moto_plus.py" -H 127.0.0.1 -p "$port" >"$1" 2>&1 3>&- &
  export MOTO_PID=$! MOTO_URL=http://127.0.0.1:$port MOTO_PACKAGES=$packages
  unset AWS_PROFILE AWS_SESSION_TOKEN
  export AWS_ENDPOINT_URL=$MOTO_URL AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=ap-northeast-1 \
    AWS_DEFAULT_REGION=ap-northeast-1 AWS_EC2_METADATA_DISABLED=true AWS_MAX_ATTEMPTS=1
  wait_until 60 moto_answers || { cat "$1" && return 1; }
}

# ask_aws PYTHON [ARGUMENT...]: an expression, or lines, with boto3 at hand; sys.argv[1:] are the arguments.
ask_aws() {
  PYTHONPATH=$MOTO_PACKAGES python3 -c "import base64, boto3, email, json, sys"$'\n'"$1" "${@:2}"
}

worker_binary() {
  local binary=${WORKER_BINARY:-$cloud_cache/target/release/file-processor-worker}
  if [[ ! -x $binary ]]; then
    echo "there is no release build at $binary: cargo build --release, or set WORKER_BINARY"
    return 1
  fi
  printf '%s\n' "$binary"
}
