# Part of install.sh: the files of releases, each checked by the SHA-256 that install.sums has of it before it is applied.
#
# A sum is learnt once, by `install.sh --pin`, from a download that is trusted then, and kept in the repository; from then on another
# file under the same address is refused. Lines of install.sums: SHA256, two spaces, ADDRESS.

SUMS=${SLIPWAY_SUMS:-$HERE/install.sums}
MIRROR=${SLIPWAY_MIRROR:-} # in place of https://github.com; the sums are of the upstream addresses all the same
PINNING=

# release ADDRESS: apply the file of a release.
release() {
    local file
    file=$(checked "$1") || return
    apply -f "$file"
}

# checked ADDRESS: download the file and print where it is.
checked() {
    local address=$1 expected found file
    expected=$(sum_of "$address")
    file=$DOWNLOADS/$(printf '%s' "$address" | tr -c 'A-Za-z0-9.\n' -)
    if ! curl --fail --silent --show-error --location --retry 3 --output "$file" "${MIRROR:-$GITHUB}${address#"$GITHUB"}"; then
        say "$address could not be downloaded${MIRROR:+ from $MIRROR}; nothing of it was applied"
        return 1
    fi
    found=$(sha256 <"$file")
    if [[ -z $expected && -n $PINNING ]]; then
        printf '%s  %s\n' "$found" "$address" >>"$SUMS"
        say "pinned $address: sha256 $found"
    elif [[ -z $expected && -n ${SLIPWAY_REQUIRE_SUMS:-} ]]; then
        say "$address has no sum in $SUMS, and SLIPWAY_REQUIRE_SUMS is set; manifests/install.sh --pin writes it"
        return 1
    elif [[ -z $expected ]]; then
        say "NOT CHECKED: $address has no sum in $SUMS; this download has sha256 $found. manifests/install.sh --pin writes it"
    elif [[ $found != "$expected" ]]; then
        say "$address is not the file that was pinned: expected sha256 $expected, found $found; nothing of it was applied." \
            "Where upstream tells that it replaced the file, remove the line from $SUMS and run manifests/install.sh --pin"
        return 1
    fi
    echo "$file"
}

sum_of() { [[ ! -f $SUMS ]] || awk -v address="$1" '$2 == address { print $1 }' "$SUMS"; }

sha256() { python3 -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

# Write the sums that are missing, of both ways to serve, and apply nothing.
pin() {
    PINNING=1
    kubectl() {
        case "$*" in
        'get configmap inferenceservice-config'*) echo '{"data": {"deploy": "{}", "ingress": "{}"}}' ;;
        *' -f -' | */dev/stdin) cat >/dev/null ;;
        esac
    }
    certificates
    SERVING=knative serving
    SERVING=standard serving
}
