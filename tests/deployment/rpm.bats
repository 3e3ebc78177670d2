# The RPM without booting it: what is in it, that it installs, upgrades and goes, that nothing about it is by chance.

load support/common
load support/machine
load support/deploy-tools

setup_file() {
  RPM_FILE=$(the_rpm)
  export RPM_FILE
  machine_mount rpm
  # Scriptlets look at it; an image that is being built has it, too.
  mount --bind /proc "$(machine_root rpm)/proc"
  mknod -m 0666 "$(machine_root rpm)/dev/null" c 1 3
}

teardown_file() { machine_unmount rpm; }

inside() { chroot "$(machine_root rpm)" "$@"; }

# contents FILE: one file out of the RPM.
contents() { rpm2cpio "$RPM_FILE" | cpio --quiet -i --to-stdout ".$1"; }

@test "it holds everything that the worker and its operators need" {
  local path
  run -0 rpm -qpl "$RPM_FILE"
  for path in /usr/bin/file-processor-worker /usr/lib64/file-processor-worker/libpdfium.so \
    /usr/local/share/tessdata/{eng,jpn,jpn_vert,osd}.traineddata /usr/local/bin/start-worker.sh \
    /usr/lib/systemd/system/file-processor-worker{,-check,-unhealthy}.service \
    /usr/lib/systemd/system/file-processor-worker-check.timer /etc/file-processor/env /var/log/file-processor \
    /opt/aws/amazon-cloudwatch-agent/etc/file-processor-worker.json /app/scripts/mark-unhealthy.sh \
    /usr/share/licenses/file-processor-worker/THIRD-PARTY.txt /usr/share/doc/file-processor-worker/sbom.cdx.json; do
    grep -qxF "$path" <<<"$output" || { echo "$path is missing" && false; }
  done
}

@test "the scripts that operators type are in /app/scripts" {
  local script missing=''
  for script in debug-worker.sh ami-cleanup.sh; do
    if [[ -f $REPO_DIR/scripts/$script ]]; then
      rpm -qpl "$RPM_FILE" | grep -qxF "/app/scripts/$script"
    else
      missing+=" $script"
    fi
  done
  [[ -z $missing ]] || skip "this checkout has no$missing"
}

@test "nobody but root owns what root runs, and no compiler or source comes along" {
  run -0 rpm -qp --qf '[%{FILEUSERNAME} %{FILEMODES:octal} %{FILENAMES}\n]' "$RPM_FILE"
  run ! grep -E '^appuser' <(grep -vE ' /var/(log|lib|cache)/file-processor' <<<"$output")
  run ! grep -E ' 10[0-7]{2}[0-7]*[2367] ' <<<"$output"
  run ! grep -E '\.(rs|c|cpp|h|patch|toml)$' <(rpm -qpl "$RPM_FILE")
}

@test "it installs: the user, the folders, the units enabled, and every file as packaged" {
  run -0 machine_rpm rpm -i --nodeps "$RPM_FILE"
  [[ $(inside getent passwd appuser) == appuser:*:/var/lib/file-processor-worker:*nologin ]]
  [ "$(inside id -u appuser)" -lt 1000 ]
  inside id -nG cwagent | grep -qw appuser
  [ "$(inside stat -c '%a %U:%G' /etc/file-processor)" = "750 root:appuser" ]
  [ "$(inside stat -c '%a %U:%G' /var/log/file-processor)" = "750 appuser:appuser" ]
  [ "$(inside systemctl is-enabled file-processor-worker.service)" = enabled ]
  run -0 machine_rpm rpm -V --nodeps file-processor-worker
}

@test "the models are the pinned ones" {
  local language checksum _
  while read -r language checksum _; do
    [[ $language != '#'* ]] || continue
    inside sha256sum -c <<<"$checksum  /usr/local/share/tessdata/$language.traineddata"
  done <"$REPO_DIR/packaging/models/models.txt"
}

@test "the installed worker finds its parts and its children start, as the service's user" {
  run -0 inside setpriv --reuid appuser --regid appuser --init-groups env -i PATH=/usr/bin \
    SQS_QUEUE_URL=http://127.0.0.1:1/q S3_BUCKET=bucket OPENSEARCH_ENDPOINT=http://127.0.0.1:1 \
    TEMP_DIR=/var/cache/file-processor-worker file-processor-worker --validate-only --offline
  [[ $output == *"jpn+eng in /usr/local/share/tessdata"* ]]
  [[ $output == *"/usr/lib64/file-processor-worker/libpdfium.so"* ]]
}

@test "an upgrade keeps the environment file" {
  echo 'S3_BUCKET="kept"' >"$(machine_root rpm)/etc/file-processor/env"
  chown "$(inside id -u root):$(inside getent group appuser | cut -d : -f 3)" "$(machine_root rpm)/etc/file-processor/env"
  chmod 0640 "$(machine_root rpm)/etc/file-processor/env"
  run -0 machine_rpm rpm -U --nodeps "$(the_next_rpm)"
  [ "$(<"$(machine_root rpm)/etc/file-processor/env")" = 'S3_BUCKET="kept"' ]
  [ "$(inside systemctl is-enabled file-processor-worker.service)" = enabled ]
  run -0 machine_rpm rpm -V --nodeps file-processor-worker
}

@test "an erasure takes everything but the log with it" {
  echo line >"$(machine_root rpm)/var/log/file-processor/worker.log"
  mkdir "$(machine_root rpm)/var/cache/file-processor-worker/spool"
  run -0 machine_rpm rpm -e file-processor-worker
  run inside find /usr /etc /opt /var -xdev -path '*file-processor*' -not -path '/var/lib/rpm/*'
  [ "$output" = "/var/log/file-processor
/var/log/file-processor/worker.log" ]
  [ ! -e "$(machine_root rpm)/app" ]
}

@test "nothing in it needs a newer glibc or C++ library than Amazon Linux 2023 has" {
  local newest
  newest=$(rpm -qp --requires "$RPM_FILE" | grep -oE '\(GLIBC_[0-9.]+\)' | tr -d '()' | sort -uV | tail -n 1)
  [ "$(printf '%s\n' "$newest" GLIBC_2.34 | sort -V | tail -n 1)" = GLIBC_2.34 ]
  newest=$(rpm -qp --requires "$RPM_FILE" | grep -oE 'GLIBCXX_[0-9.]+' | sort -uV | tail -n 1)
  [ "$(printf '%s\n' "$newest" GLIBCXX_3.4.29 | sort -V | tail -n 1)" = GLIBCXX_3.4.29 ]
}

@test "the same input gives the same bytes, from another folder at another time" {
  local copy=$BATS_TEST_TMPDIR/elsewhere epoch
  mkdir "$copy"
  (cd "$REPO_DIR" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy")
  # Older than the commit is what no clamping would hide.
  find "$copy" -exec touch --date=@1 {} +
  epoch=$(git -C "$REPO_DIR" log -1 --format=%ct)
  run -0 env SOURCE_DATE_EPOCH="$epoch" RPM_PAYLOAD=w3.zstdio "$copy/scripts/build-rpm.sh" --binary "$WORKER_BINARY" \
    --release 1000 --output "$BATS_TEST_TMPDIR/again"
  cmp "$RPM_FILE" "$BATS_TEST_TMPDIR"/again/*.rpm
}

@test "rpmlint finds nothing that is not explained" {
  run -0 rpmlint --config "$REPO_DIR/packaging/rpm/rpmlint.toml" "$RPM_FILE"
  [[ $output == *" 0 errors, 0 warnings"* ]]
}

@test "--release-check refuses what must not be deployed, with a sentence" {
  readelf -d "$WORKER_BINARY" | grep -q 'NEEDED.*libtesseract' || skip "the worker has its own engine"
  run -1 "$REPO_DIR/scripts/build-rpm.sh" --binary "$WORKER_BINARY" --release-check --output "$BATS_TEST_TMPDIR"
  [[ $output == *"build-rpm.sh: "* ]]
  [ -z "$(compgen -G "$BATS_TEST_TMPDIR/*.rpm")" ]
}

@test "a worker for another processor is refused" {
  # The machine's number stands in bytes 18 and 19 of an ELF file; 22 is IBM's S/390.
  cp "$WORKER_BINARY" "$BATS_TEST_TMPDIR/worker"
  printf '\x16\x00' | dd of="$BATS_TEST_TMPDIR/worker" bs=1 seek=18 conv=notrunc status=none
  run -1 "$REPO_DIR/scripts/build-rpm.sh" --binary "$BATS_TEST_TMPDIR/worker" --output "$BATS_TEST_TMPDIR"
  [[ $output == *"is for another processor"* ]]
}

@test "the spec is right for aarch64, too" {
  run -0 rpmspec -q --target aarch64 --qf '%{ARCH}\n' --define 'version_number 1' --define 'release_number 1' \
    --define "repository $REPO_DIR" --define 'payload /nowhere' --define 'packaged_scripts x' \
    "$REPO_DIR/packaging/rpm/file-processor-worker.spec"
  [ "$output" = aarch64 ]
}

@test "the licences name every crate that is linked, the engine, its models and pdfium" {
  contents /usr/share/licenses/file-processor-worker/THIRD-PARTY.txt >"$BATS_TEST_TMPDIR/licences"
  local crate
  for crate in tokio aws-sdk-sqs pdfium-render tantivy; do
    grep -q "^$crate [0-9]" "$BATS_TEST_TMPDIR/licences"
  done
  for crate in tesseract leptonica jpn_vert.traineddata pdfium rust-std; do
    grep -q "^$crate [0-9].*: " "$BATS_TEST_TMPDIR/licences"
  done
  grep -q 'Redistribution and use in source and binary forms' "$BATS_TEST_TMPDIR/licences"
  # Only for tests: must not be named.
  run ! grep -q '^proptest ' "$BATS_TEST_TMPDIR/licences"
}

@test "the bill of materials names each part once, with its licence, and says which worker it is of" {
  contents /usr/share/doc/file-processor-worker/sbom.cdx.json >"$BATS_TEST_TMPDIR/sbom"
  local sum
  sum=$(contents /usr/bin/file-processor-worker | sha256sum | cut -d ' ' -f 1)
  jq -e --arg sum "$sum" '.metadata.component.hashes[0].content == $sum' "$BATS_TEST_TMPDIR/sbom"
  jq -e '[.components[]."bom-ref"] | length > 200 and length == (unique | length)' "$BATS_TEST_TMPDIR/sbom"
  jq -e '[.components[] | select(.licenses == null)] | length == 0' "$BATS_TEST_TMPDIR/sbom"
  # Whatever something depends on is described.
  jq -e '([.components[]."bom-ref"]) as $known | [.dependencies[].dependsOn[]] - $known | length == 0' "$BATS_TEST_TMPDIR/sbom"
}

@test "the bill of materials is what CycloneDX allows, with licences that SPDX knows" {
  local validator packages support=$REPO_DIR/tests/deployment/support
  validator=$(tool_check_jsonschema) || skip "$validator"
  packages=$tools_cache/cyclonedx-$(sha256sum <"$support/cyclonedx.txt" | cut -c1-12)
  bash -c '. "$0/scripts/lib.sh"; pip_into "$@"' "$REPO_DIR" "$packages" "$support/cyclonedx.txt" ||
    skip "pip cannot fetch what cyclonedx.txt pins"
  check_sbom() { PYTHONPATH=$packages "${validator%/*}/python" "$support/check_sbom.py"; }
  contents /usr/share/doc/file-processor-worker/sbom.cdx.json >"$BATS_TEST_TMPDIR/sbom"
  run -0 check_sbom <"$BATS_TEST_TMPDIR/sbom"
  jq '.components[0].type = "libary" | .components[1].licenses[0].expression = "Apache"' "$BATS_TEST_TMPDIR/sbom" >"$BATS_TEST_TMPDIR/spoilt"
  run -1 check_sbom <"$BATS_TEST_TMPDIR/spoilt"
  [[ $output == *"components[0].type"* && $output == *"Apache is no licence"* ]]
}
