#!/usr/bin/env bash
# What Slipway stands on, in the cluster of KUBECONFIG, from upstream releases by URL. To run it again changes nothing.
#
#   manifests/install.sh                        everything
#   manifests/install.sh serving training       some of: certificates serving training pipelines
#   manifests/install.sh secrets                the secrets that manifests/ refers to, unless they are there
set -euo pipefail

CERT_MANAGER=v1.17.0
KNATIVE=knative-v1.21.1
KOURIER=knative-v1.21.0
KSERVE=v0.20.0
TRAINING_OPERATOR=v1.9.4
PIPELINES=2.17.0
NAMESPACE=${SLIPWAY_NAMESPACE:-slipway}
KEYS=${SLIPWAY_KEYS:-$HOME/.config/slipway/keys}

apply() { kubectl apply --server-side --force-conflicts "$@"; }
available() { kubectl wait --namespace "$1" --for=condition=Available deployment --all --timeout=300s; }

# A webhook that guards what is applied may still be starting.
patiently() {
    local attempt
    for attempt in {1..20}; do
        "$@" && return
        sleep 5
    done
    echo "gave up: $*" >&2
    return 1
}

certificates() {
    apply -f "https://github.com/cert-manager/cert-manager/releases/download/$CERT_MANAGER/cert-manager.yaml"
    available cert-manager
}

serving() {
    local knative=https://github.com/knative/serving/releases/download/$KNATIVE
    apply -f "$knative/serving-crds.yaml"
    kubectl wait --for=condition=Established crd --all --timeout=60s
    apply -f "$knative/serving-core.yaml"
    apply -f "https://github.com/knative-extensions/net-kourier/releases/download/$KOURIER/kourier.yaml"
    available knative-serving
    available kourier-system
    kubectl patch configmap config-network --namespace knative-serving --type merge \
        --patch '{"data": {"ingress-class": "kourier.ingress.networking.knative.dev"}}'
    kubectl patch configmap config-features --namespace knative-serving --type merge \
        --patch '{"data": {"kubernetes.podspec-volumes-emptydir": "enabled", "kubernetes.podspec-securitycontext": "enabled"}}'
    apply -f "https://github.com/kserve/kserve/releases/download/$KSERVE/kserve.yaml"
    available kserve
    # Kourier, not Istio, routes; see https://kserve.github.io/website for this setting.
    kubectl get configmap inferenceservice-config --namespace kserve --output json |
        python3 -c '
import json, sys
whole = json.load(sys.stdin)
ingress = json.loads(whole["data"]["ingress"]) | {"disableIstioVirtualHost": True}
print(json.dumps({"data": {"ingress": json.dumps(ingress)}}))' |
        kubectl patch configmap inferenceservice-config --namespace kserve --type merge --patch-file /dev/stdin
    patiently apply -f "https://github.com/kserve/kserve/releases/download/$KSERVE/kserve-cluster-resources.yaml"
}

training() {
    apply -k "github.com/kubeflow/training-operator.git/manifests/overlays/standalone?ref=$TRAINING_OPERATOR"
    available kubeflow
}

pipelines() {
    local base=github.com/kubeflow/pipelines/manifests/kustomize
    apply -k "$base/cluster-scoped-resources?ref=$PIPELINES"
    kubectl wait --for=condition=Established crd/applications.app.k8s.io --timeout=60s
    apply -k "$base/env/platform-agnostic?ref=$PIPELINES"
    available kubeflow
}

# slipway-s3: AWS_* as in the environment, else new credentials for the S3 server of manifests/. slipway-signing and
# slipway-public-key: the key pair in $SLIPWAY_KEYS, which `slipway run` makes at first use.
secrets() {
    local endpoint host
    kubectl get namespace "$NAMESPACE" >/dev/null 2>&1 || kubectl create namespace "$NAMESPACE"
    if ! kubectl get secret slipway-s3 --namespace "$NAMESPACE" >/dev/null 2>&1; then
        endpoint=${AWS_ENDPOINT_URL:-http://s3.$NAMESPACE.svc.cluster.local:9000}
        host=${endpoint#*://}
        kubectl create secret generic slipway-s3 --namespace "$NAMESPACE" --from-env-file=/dev/stdin <<VALUES
AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-slipway}
AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')}
AWS_ENDPOINT_URL=$endpoint
AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-us-east-1}
VALUES
        kubectl annotate secret slipway-s3 --namespace "$NAMESPACE" "serving.kserve.io/s3-endpoint=$host" \
            "serving.kserve.io/s3-usehttps=$([[ $endpoint == https:* ]] && echo 1 || echo 0)" \
            "serving.kserve.io/s3-region=${AWS_DEFAULT_REGION:-us-east-1}"
    fi
    if [[ -f $KEYS/private.pem ]]; then
        kubectl create secret generic slipway-signing --namespace "$NAMESPACE" --from-file="$KEYS/private.pem" \
            --dry-run=client --output yaml | kubectl apply -f -
        kubectl create configmap slipway-public-key --namespace "$NAMESPACE" --from-file="$KEYS/public.pem" \
            --dry-run=client --output yaml | kubectl apply -f -
    else
        echo "no signing key in $KEYS yet: run 'slipway run' once, or set SLIPWAY_KEYS, then this again" >&2
    fi
}

for part in "${@:-all}"; do
    case $part in
    all) certificates; serving; training; pipelines; secrets ;;
    certificates | serving | training | pipelines | secrets) "$part" ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
