# Part of install.sh: what `install.sh secrets` is about to upload, told before it does. Names, namespaces, purposes and fingerprints; no
# value of a secret.

tell_uploads() {
    say "these go to the cluster of $(command kubectl config current-context 2>/dev/null </dev/null || echo KUBECONFIG); what is there already stays unless told otherwise:"
    tell secret slipway-s3 "credentials of the store and a login of MLflow, for steps; $(store_words)"
    tell secret slipway-s3-trainers "the same for trainers, which read data and write checkpoints; $(role_words TRAINERS)"
    tell secret slipway-s3-servers "credentials of the store for model servers, which read bundles; $(role_words SERVERS)"
    tell secret slipway-s3-root "the own key of the S3 server of manifests/, for its pod alone, where there is no other store"
    tell secret slipway-mlflow "the password of MLflow's admin and the key of its sessions, for its pod alone; new ones"
    if [[ -n $SIGNING_KEY ]]; then
        say "  no Secret $NAMESPACE/slipway-signing: $SIGNING_KEY signs"
    elif signs; then
        tell secret slipway-signing "the private key $KEYS/private.pem, for the Jobs of the signer alone; $(pair_words)"
    else
        say "  no Secret $NAMESPACE/slipway-signing: nothing signs in this cluster, there is no namespace $STEPS"
    fi
    tell configmap slipway-public-key "public keys, by which bundles are verified: $(public_words)"
    tell secret slipway-api-keys "who may ask the model servers: hashes of keys"
    tell secret slipway-client "the API key that the step rollout shows model servers"
    tell secret slipway-audit "the key by which model servers chain the lines of their audit log"
    [[ -z $(value_of slipway-s3-tls 'ca\.crt' '') ]] ||
        tell configmap slipway-ca "the certificate of the authority within the cluster, for KServe and the gateway; steps and trainers get it in their Secrets"
    [[ -z ${HF_TOKEN:-} ]] || say "  Secret $NAMESPACE/slipway-hub: HF_TOKEN of the environment, for steps and trainers that load encoders or data;" \
        "SHA-256 begins with $(printf %s "$HF_TOKEN" | sha256 | cut -c1-12); one that is there is replaced"
    ! kubectl get namespace "$STEPS" >/dev/null 2>&1 || say "  copies for steps in namespace $STEPS, where every step can read them:" \
        "slipway-s3, slipway-client, slipway-hub, slipway-encryption, slipway-public-key"
}

# tell KIND NAME WORDS
tell() {
    local kind=Secret state=new
    [[ $1 == secret ]] || kind=ConfigMap
    ! kubectl get "$1" "$2" --namespace "$NAMESPACE" >/dev/null 2>&1 || state='there already'
    say "  $kind $NAMESPACE/$2 ($state): $3"
}

store_words() {
    local key=${AWS_ACCESS_KEY_ID:-}
    [[ -n $key ]] || { echo "new ones for the S3 server of manifests/" && return; }
    echo "AWS_* of the environment: key id $key, secret's SHA-256 begins with $(printf %s "${AWS_SECRET_ACCESS_KEY:-}" | sha256 | cut -c1-12)"
}

# role_words ROLE   whose key goes up for a role
role_words() {
    local id=SLIPWAY_$1_ACCESS_KEY_ID
    if [[ -n ${!id:-} ]]; then
        echo "key id ${!id} of the environment"
    elif [[ -n ${AWS_ACCESS_KEY_ID:-} ]]; then
        echo "a new one for the S3 server of manifests/; elsewhere the steps' key, unless SLIPWAY_$1_ACCESS_KEY_ID is set"
    else
        echo "a new one for the S3 server of manifests/"
    fi
}

pair_words() {
    if [[ -f $KEYS/private.pem ]]; then
        echo "its public key is $(fingerprint "$KEYS/public.pem")"
    else
        echo "a new pair is made there"
    fi
}

public_words() {
    local file words=
    for file in $(public_files); do
        words+="${words:+, }$(basename "$file") $(fingerprint "$file")"
    done
    [[ ! -f $KEYS/refused-digests.txt ]] || words+=", and refused-digests.txt"
    echo "${words:-that of the new pair}"
}

# As Slipway tells a signer: sha256:… over the public key's DER form.
fingerprint() {
    local found
    if found=$(openssl pkey -pubin -in "$1" -outform DER 2>/dev/null | base64 | tr -d '\n') && [[ -n $found ]]; then
        echo "sha256:$(base64 -d <<<"$found" | sha256)"
    else
        echo "(no PEM public key)"
    fi
}
