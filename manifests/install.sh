#!/usr/bin/env bash
# What Slipway stands on, in the cluster of KUBECONFIG, from upstream releases by URL. To run it again changes nothing.
#
#   manifests/install.sh [--dry-run] [PART]...      --dry-run only prints the kubectl commands
#   manifests/install.sh --pin                      write the checksums of the releases that install.sums lacks; apply nothing
#
#   certificates    cert-manager
#   serving         KServe on Knative Serving and Kourier; SLIPWAY_SERVING=standard: on Gateway API and Envoy Gateway, which listens
#                   on a node port; SLIPWAY_GATEWAY_SERVICE=LoadBalancer: behind the cluster's load balancer
#   training        the training operator
#   pipelines       Kubeflow Pipelines, standalone
#   secrets         the secrets that manifests/ refers to, unless they are there; copies for steps of Kubeflow Pipelines
#
# Without a part it does all of them. It needs kubectl, git (kubectl reads kustomizations of repositories), curl, python3 and openssl.
set -euo pipefail

CERT_MANAGER=v1.21.1
KNATIVE=knative-v1.21.3
KOURIER=knative-v1.21.1
ENVOY_GATEWAY=v1.8.3 # brings the custom resources of Gateway API 1.5.1
KSERVE_KNATIVE=v0.20.0
KSERVE_STANDARD=v0.21.0 # the first one that splits a canary's traffic without Knative
TRAINING_OPERATOR=4445c12aa62e4345b0c2c6ac9b215a70eca46ed7 # v1.9.4: a tag can be moved, a commit cannot
PIPELINES=4a3592cb2dd0a91a4652ab93893ec8beda1f3158         # 2.17.0
NODE_PORT=31080 # of the ingress gateway; kind-cluster.yaml leads 127.0.0.1:8080 there

SERVING=${SLIPWAY_SERVING:-knative}
GATEWAY_SERVICE=${SLIPWAY_GATEWAY_SERVICE:-NodePort} # a load balancer's address, once given, is not to be lost by running this again
NAMESPACE=${SLIPWAY_NAMESPACE:-slipway}
STEPS=${SLIPWAY_STEPS_NAMESPACE:-kubeflow} # where Kubeflow Pipelines runs steps; a profile in a multi-user installation
KEYS=${SLIPWAY_KEYS:-$HOME/.config/slipway/keys}
SIGNING_KEY=${SLIPWAY_SIGNING_KEY:-} # in KMS, when that signs (registry.signing_key): then no private key is uploaded
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
GITHUB=https://github.com
DOWNLOADS=$(mktemp -d)
trap 'rm -rf "$DOWNLOADS"' EXIT
# shellcheck source-path=SCRIPTDIR
. "$HERE/release-sums.sh"
. "$HERE/uploads.sh"

say() { printf '== %s\n' "$*" >&2; }

only_print() {
    kubectl() {
        local line
        printf -v line ' %q' "$@"
        echo "kubectl$line" >&3
        case "$*" in *' -f -' | */dev/stdin) cat >/dev/null ;; esac
        case "$1 $2 ${3:-}" in
        'get configmap inferenceservice-config') echo '{"data": {"deploy": "{}", "ingress": "{}"}}' ;;
        "get namespace $STEPS") ;; # the part before makes it
        get*) return 1 ;; # nothing is there yet
        esac
    }
    make_keys() { :; }
    checked() { echo "$1"; }
    exec 3>&1
}

apply() { kubectl apply --server-side --force-conflicts "$@"; }
available() { kubectl wait --for=condition=Available --timeout="${3:-300s}" --namespace "$1" deployment "$2"; }
established() { kubectl wait --for=condition=Established --timeout=60s crd --all; }

# A webhook that guards what is applied may still be starting.
patiently() {
    local attempt
    for attempt in {1..20}; do
        "$@" && return
        say "attempt $attempt did not work yet: $*"
        sleep 5
    done
    return 1
}

certificates() {
    release "$GITHUB/cert-manager/cert-manager/releases/download/$CERT_MANAGER/cert-manager.yaml"
    available cert-manager --all
}

serving() {
    case $SERVING in
    knative)
        knative
        kserve "$KSERVE_KNATIVE" Knative disableIstioVirtualHost=true enableGatewayApi=false
        ;;
    standard)
        case $GATEWAY_SERVICE in NodePort | LoadBalancer) ;; *)
            say "SLIPWAY_GATEWAY_SERVICE is $GATEWAY_SERVICE; it can be NodePort or LoadBalancer"
            return 2
            ;;
        esac
        release "$GITHUB/envoyproxy/gateway/releases/download/$ENVOY_GATEWAY/install.yaml"
        available envoy-gateway-system --all
        kserve "$KSERVE_STANDARD" Standard disableIstioVirtualHost=true enableGatewayApi=true
        patiently gateway
        ;;
    *)
        say "SLIPWAY_SERVING is $SERVING; it can be knative or standard"
        return 2
        ;;
    esac
}

gateway() {
    sed "s/type: NodePort/type: $GATEWAY_SERVICE/" "$HERE/gateway.yaml" | apply -f -
}

knative() {
    local place=$GITHUB/knative/serving/releases/download/$KNATIVE ports
    release "$place/serving-crds.yaml"
    established
    release "$place/serving-core.yaml"
    release "$GITHUB/knative-extensions/net-kourier/releases/download/$KOURIER/kourier.yaml"
    available knative-serving --all
    available kourier-system --all
    kubectl patch configmap config-network --namespace knative-serving --type merge \
        --patch '{"data": {"ingress-class": "kourier.ingress.networking.knative.dev"}}'
    # Kourier lets a stream wait for ever by default; of Envoy's other limits for edge proxies it has no setting.
    kubectl patch configmap config-kourier --namespace knative-serving --type merge \
        --patch '{"data": {"stream-idle-timeout": "120s"}}'
    ports='[{"name": "http2", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": '$NODE_PORT'}]'
    kubectl patch service kourier --namespace kourier-system --patch "{\"spec\": {\"ports\": $ports}}"
}

# kserve VERSION MODE KEY=JSON...   the keys are those of the section `ingress` of KServe's configuration
kserve() {
    local place=$GITHUB/kserve/kserve/releases/download/$1 changed file
    kubectl create namespace kserve --dry-run=client --output yaml | apply -f -
    release "$place/kserve-crds.yaml"
    established
    file=$(checked "$place/kserve.yaml")
    patiently apply -f "$file"
    available kserve kserve-controller-manager
    changed=$(kubectl get configmap inferenceservice-config --namespace kserve --output json |
        python3 -c '
import json, sys
data, (mode, *keys) = json.load(sys.stdin)["data"], sys.argv[1:]
ingress = json.loads(data["ingress"]) | {key: json.loads(value) for key, _, value in (k.partition("=") for k in keys)}
deploy = json.loads(data["deploy"]) | {"defaultDeploymentMode": mode}
print(json.dumps({"data": {"ingress": json.dumps(ingress), "deploy": json.dumps(deploy)}}))' "${@:2}" |
        kubectl patch configmap inferenceservice-config --namespace kserve --type merge --patch-file /dev/stdin)
    say "$changed"
    if [[ $changed != *'no change'* ]]; then # the controller reads what it works with when it starts
        kubectl rollout restart deployment kserve-controller-manager --namespace kserve
        kubectl rollout status deployment kserve-controller-manager --namespace kserve --timeout=300s
    fi
}

training() {
    apply -k "github.com/kubeflow/trainer.git/manifests/overlays/standalone?ref=$TRAINING_OPERATOR"
    available kubeflow training-operator
}

pipelines() {
    local base=github.com/kubeflow/pipelines.git/manifests/kustomize
    apply -k "$base/cluster-scoped-resources?ref=$PIPELINES"
    established
    apply -k "$base/env/platform-agnostic?ref=$PIPELINES"
    available kubeflow --all 900s
}

# slipway-s3: AWS_* as in the environment, else new credentials for the S3 server of manifests/. slipway-signing and
# slipway-public-key: the key pair in $SLIPWAY_KEYS, the one of `slipway run`, and all public keys beside it. slipway-hub: HF_TOKEN and HF_ENDPOINT as in the environment.
secrets() {
    local endpoint host https=0
    check_public_files
    tell_uploads
    kubectl get namespace "$NAMESPACE" >/dev/null 2>&1 || kubectl create namespace "$NAMESPACE"
    if ! kubectl get secret slipway-s3 --namespace "$NAMESPACE" >/dev/null 2>&1; then
        endpoint=${AWS_ENDPOINT_URL_S3:-${AWS_ENDPOINT_URL:-http://s3.$NAMESPACE.svc.cluster.local:9000}}
        host=${endpoint#*://}
        [[ $endpoint != https:* ]] || https=1
        kubectl create secret generic slipway-s3 --namespace "$NAMESPACE" --from-env-file=/dev/stdin <<VALUES
AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-slipway}
AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')}
AWS_ENDPOINT_URL_S3=$endpoint
AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1}
VALUES
        kubectl annotate secret slipway-s3 --namespace "$NAMESPACE" "serving.kserve.io/s3-endpoint=$host" \
            "serving.kserve.io/s3-usehttps=$https" "serving.kserve.io/s3-region=${AWS_DEFAULT_REGION:-us-east-1}"
    fi
    store_roles
    tracking_logins
    tls_inside
    signing_keys
    api_keys
    audit_key
    hub
    for_steps secret/slipway-s3 secret/slipway-client secret/slipway-encryption secret/slipway-hub configmap/slipway-public-key
    no_key_for_steps
}

# Whether anything signs in the cluster: only pipelines do.
signs() { kubectl get namespace "$STEPS" >/dev/null 2>&1; }

# Earlier releases copied the private key to where the steps run.
no_key_for_steps() {
    [[ $STEPS != "$NAMESPACE" ]] && kubectl get secret slipway-signing --namespace "$STEPS" >/dev/null 2>&1 || return 0
    say "removing Secret $STEPS/slipway-signing: an earlier release copied the private key there, where every step could read it." \
        "Pipelines that were compiled by that release want it: compile them again. Who may run strange code there makes a new key pair"
    kubectl delete secret slipway-signing --namespace "$STEPS"
}

# The public keys beside the private one: several while the key is changed.
public_files() {
    local file
    for file in "$KEYS"/*.pem; do
        [[ ! -f $file || $file == "$KEYS/private.pem" ]] || printf '%s\n' "$file"
    done
}

check_public_files() {
    local file
    public_files | while IFS= read -r file; do
        if grep -q 'PRIVATE KEY' "$file"; then
            say "$file holds a private key, and every *.pem beside private.pem is uploaded as a public one; move it elsewhere"
            return 1
        fi
    done
}

# Each role has a key of its own for the store: slipway-s3 is the steps', slipway-s3-trainers and slipway-s3-servers the others'. The S3
# server of manifests/ makes them its users, by slipway-s3-root, which is nobody else's. A store elsewhere has users of its own:
# SLIPWAY_TRAINERS_ACCESS_KEY_ID and SLIPWAY_TRAINERS_SECRET_ACCESS_KEY name one, SLIPWAY_SERVERS_… the other.
store_roles() {
    local endpoint host region role id key https=0
    endpoint=$(value_of slipway-s3 AWS_ENDPOINT_URL_S3 "http://s3.$NAMESPACE.svc.cluster.local:9000")
    region=$(value_of slipway-s3 AWS_DEFAULT_REGION us-east-1)
    host=${endpoint#*://}
    [[ $endpoint != https:* ]] || https=1
    for role in root trainers servers; do
        kubectl get secret "slipway-s3-$role" --namespace "$NAMESPACE" >/dev/null 2>&1 && continue
        id=SLIPWAY_${role^^}_ACCESS_KEY_ID key=SLIPWAY_${role^^}_SECRET_ACCESS_KEY
        id=${!id:-} key=${!key:-}
        if [[ $host == "s3.$NAMESPACE.svc"* ]]; then
            id=slipway-$role key=$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')
        elif [[ $role == root ]]; then
            continue
        elif [[ -z $id || -z $key ]]; then
            say "the $role get the key of the steps, with all that it may do at ${host:-AWS}; for one of their own, remove the Secret" \
                "slipway-s3-$role, set SLIPWAY_${role^^}_ACCESS_KEY_ID and SLIPWAY_${role^^}_SECRET_ACCESS_KEY and run this again"
            id=$(value_of slipway-s3 AWS_ACCESS_KEY_ID '') key=$(value_of slipway-s3 AWS_SECRET_ACCESS_KEY '')
        fi
        kubectl create secret generic "slipway-s3-$role" --namespace "$NAMESPACE" --from-env-file=/dev/stdin <<VALUES
AWS_ACCESS_KEY_ID=$id
AWS_SECRET_ACCESS_KEY=$key
${endpoint:+AWS_ENDPOINT_URL_S3=$endpoint}
AWS_DEFAULT_REGION=${region:-us-east-1}
VALUES
        [[ -z $host ]] || kubectl annotate secret "slipway-s3-$role" --namespace "$NAMESPACE" "serving.kserve.io/s3-endpoint=$host" \
            "serving.kserve.io/s3-usehttps=$https" "serving.kserve.io/s3-region=${region:-us-east-1}"
    done
}

# MLflow asks for a login: slipway-mlflow has what is its own, the Secrets of steps and trainers have theirs. A login that steps had
# already, for an MLflow elsewhere, is the trainers' too.
tracking_logins() {
    local secret name password known
    if ! kubectl get secret slipway-mlflow --namespace "$NAMESPACE" >/dev/null 2>&1; then
        kubectl create secret generic slipway-mlflow --namespace "$NAMESPACE" --from-env-file=/dev/stdin <<VALUES
MLFLOW_AUTH_ADMIN_PASSWORD=$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')
MLFLOW_FLASK_SERVER_SECRET_KEY=$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')
VALUES
    fi
    known=$(value_of slipway-s3 MLFLOW_TRACKING_USERNAME '')
    for secret in slipway-s3 slipway-s3-trainers; do
        [[ -z $(value_of $secret MLFLOW_TRACKING_USERNAME '') ]] || continue
        name=slipway-steps
        [[ $secret == slipway-s3 ]] || name=slipway-trainers
        password=$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')
        if [[ -n $known && $known != slipway-steps ]]; then
            name=$known password=$(value_of slipway-s3 MLFLOW_TRACKING_PASSWORD '')
        fi
        LOGIN=$name PASSWORD=$password python3 -c '
import json, os
login = {"MLFLOW_TRACKING_USERNAME": os.environ["LOGIN"], "MLFLOW_TRACKING_PASSWORD": os.environ["PASSWORD"]}
print(json.dumps({"stringData": login}))' |
            kubectl patch secret $secret --namespace "$NAMESPACE" --patch-file /dev/stdin
    done
}

# Where cert-manager made certificates for S3 and MLflow (manifests/tls/inside): whom to trust, beside the address of S3, which is one
# of TLS from now on. KServe fetches bundles by the ConfigMap slipway-ca, in which it looks for cabundle.crt; a gateway looks for ca.crt, to
# know model servers (manifests/tls/standard). A store elsewhere keeps its address.
tls_inside() {
    local authority secret endpoint
    authority=$(value_of slipway-s3-tls 'ca\.crt' '')
    [[ -n $authority ]] || return 0
    kubectl create configmap slipway-ca --namespace "$NAMESPACE" --from-literal="cabundle.crt=$authority" \
        --from-literal="ca.crt=$authority" --dry-run=client --output yaml | apply -f -
    for secret in slipway-s3 slipway-s3-trainers slipway-s3-servers; do
        endpoint=$(value_of $secret AWS_ENDPOINT_URL_S3 '')
        if [[ $endpoint == http*://s3.$NAMESPACE.svc* ]]; then
            endpoint=https://${endpoint#*://}
            kubectl annotate secret $secret --namespace "$NAMESPACE" --overwrite serving.kserve.io/s3-usehttps=1 \
                serving.kserve.io/s3-cabundle-configmap=slipway-ca
        fi
        AUTHORITY=$authority ENDPOINT=$endpoint python3 -c '
import json, os
values = {"SLIPWAY_CA": os.environ["AUTHORITY"], "AWS_ENDPOINT_URL_S3": os.environ["ENDPOINT"]}
print(json.dumps({"stringData": {name: value for name, value in values.items() if value}}))' |
            kubectl patch secret $secret --namespace "$NAMESPACE" --patch-file /dev/stdin
    done
}

# value_of SECRET KEY ABSENT   ABSENT when there is no such Secret, nothing when it has no such key
value_of() {
    kubectl get secret "$1" --namespace "$NAMESPACE" --output "jsonpath={.data.$2}" 2>/dev/null | base64 --decode || printf '%s' "$3"
}

# Key pairs are never replaced unasked: no bundle that was signed with the former one would be served any more.
signing_keys() {
    local present file files
    present=$(kubectl get configmap slipway-public-key --namespace "$NAMESPACE" --output 'jsonpath={.data.public\.pem}' 2>/dev/null) || present=
    if [[ -n $SIGNING_KEY ]]; then
        [[ -f $KEYS/public.pem ]] || {
            say "$KEYS has no public.pem of $SIGNING_KEY; \`slipway public-key --set registry.signing_key=$SIGNING_KEY\` prints it"
            return 1
        }
    elif [[ ! -f $KEYS/private.pem ]]; then
        [[ -z $present ]] || return 0
        say "no signing key in $KEYS yet: making a pair"
        make_keys
    fi
    if [[ -n $present && $present != "$(<"$KEYS/public.pem")" && -z ${SLIPWAY_REPLACE_KEYS:-} ]]; then
        say "the cluster has another signing key than $KEYS, and keeps it; SLIPWAY_REPLACE_KEYS=1 replaces it, and then no bundle" \
            "that was signed with it is served any more"
        return 0
    fi
    if signs && [[ -z $SIGNING_KEY ]]; then
        kubectl create secret generic slipway-signing --namespace "$NAMESPACE" --from-file="$KEYS/private.pem" \
            --dry-run=client --output yaml | apply -f -
    fi
    files=("--from-file=$KEYS/public.pem")
    while IFS= read -r file; do
        [[ $file == "$KEYS/public.pem" ]] || files+=("--from-file=$file")
    done < <(public_files)
    [[ ! -f $KEYS/refused-digests.txt ]] || files+=("--from-file=$KEYS/refused-digests.txt")
    kubectl create configmap slipway-public-key --namespace "$NAMESPACE" "${files[@]}" --dry-run=client --output yaml | apply -f -
}

# slipway-audit: with it the model servers chain the lines of their audit log, and who has it not cannot write others. It is never
# replaced: a log is checked with the key that it was written with.
audit_key() {
    kubectl get secret slipway-audit --namespace "$NAMESPACE" >/dev/null 2>&1 && return
    python3 -c 'import secrets; print(secrets.token_urlsafe(32))' |
        kubectl create secret generic slipway-audit --namespace "$NAMESPACE" --from-file=audit.key=/dev/stdin
}

# As `slipway run` does at first use: ECDSA P-256.
make_keys() {
    [[ ! -e $KEYS/public.pem ]] || {
        say "$KEYS has public.pem and no private.pem; restore that one, remove public.pem for a new pair, or set SLIPWAY_SIGNING_KEY" \
            "to the key in KMS that signs (registry.signing_key)"
        return 1
    }
    (
        umask 077
        mkdir -p "$KEYS"
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$KEYS/private.pem"
    )
    openssl pkey -in "$KEYS/private.pem" -pubout -out "$KEYS/public.pem"
}

# slipway-hub: with which steps and trainers ask the Hugging Face hub for what not everyone may load. A token in the environment
# replaces the one that is there: tokens end.
hub() {
    [[ -n ${HF_TOKEN:-} ]] || return 0
    {
        echo "HF_TOKEN=$HF_TOKEN"
        [[ -z ${HF_ENDPOINT:-} ]] || echo "HF_ENDPOINT=$HF_ENDPOINT"
    } | kubectl create secret generic slipway-hub --namespace "$NAMESPACE" --from-env-file=/dev/stdin \
        --dry-run=client --output yaml | apply -f -
}

# The key of the rollout from before there was a scope that lets it mark its questions, which are no evidence: it gets that scope.
rollout_scope() {
    local changed
    changed=$(kubectl get secret slipway-api-keys --namespace "$NAMESPACE" --output json | python3 -c '
import base64, json, sys
secret = json.loads(sys.stdin.read() or "{}")
file = json.loads(base64.b64decode(secret.get("data", {}).get("api-keys.json", "")) or "{}")
old = [key for key in file.get("keys", ()) if key["identity"] == "rollout" and "rollout" not in key["scopes"]]
for key in old:
    key["scopes"].append("rollout")
if old:
    metadata = {name: secret["metadata"][name] for name in ("name", "namespace")}
    data = {"api-keys.json": base64.b64encode(json.dumps(file).encode()).decode()}
    print(json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}))')
    [[ -z $changed ]] || apply -f - <<<"$changed"
}

# slipway-api-keys: who may ask the model servers, hashes only; slipway-client: the key that the step rollout shows them.
# `slipway keys` makes keys for others.
api_keys() {
    local made
    if kubectl get secret slipway-api-keys --namespace "$NAMESPACE" >/dev/null 2>&1; then
        rollout_scope
        return
    fi
    made=$(python3 -c '
import hashlib, json, secrets
number, word = secrets.token_hex(6), secrets.token_urlsafe(32)
key = f"slipway_{number}_{word}"
entry = {"id": number, "identity": "rollout", "scopes": ["predict", "rollout"], "sha256": hashlib.sha256(key.encode()).hexdigest()}
print(key)
print(json.dumps({"keys": [entry]}))')
    kubectl create secret generic slipway-client --namespace "$NAMESPACE" --from-env-file=/dev/stdin \
        --dry-run=client --output yaml <<<"SLIPWAY_API_KEY=${made%%$'\n'*}" | apply -f -
    kubectl create secret generic slipway-api-keys --namespace "$NAMESPACE" --from-file=api-keys.json=/dev/stdin \
        <<<"${made#*$'\n'}"
}

# Steps of Kubeflow Pipelines run in its namespace, and a pod uses secrets of its own namespace only: copy them there.
for_steps() {
    local object
    kubectl get namespace "$STEPS" >/dev/null 2>&1 || return 0
    kubectl label namespace "$STEPS" slipway.dev/steps=true --overwrite # NetworkPolicies let them in by it
    for object in "$@"; do
        kubectl get "$object" --namespace "$NAMESPACE" >/dev/null 2>&1 || continue
        kubectl get "$object" --namespace "$NAMESPACE" --output json | python3 -c '
import json, sys
whole = json.load(sys.stdin)
whole["metadata"] = {"name": whole["metadata"]["name"], "namespace": sys.argv[1]}
print(json.dumps(whole))' "$STEPS" | apply -f -
    done
}

if [[ ${1:-} == --pin ]]; then
    pin
    exit
fi
if [[ ${1:-} == --dry-run ]]; then
    only_print
    shift
fi
(($#)) || set -- certificates serving training pipelines secrets
for part; do
    case $part in
    certificates | serving | training | pipelines | secrets)
        say "$part"
        "$part"
        ;;
    *)
        sed -n '2,14s/^# \{0,1\}//p' "$0"
        exit 2
        ;;
    esac
done
