#!/bin/sh
# kubectl 1.36 kustomize gives a namespace to policies of admission, which are in none.
#
# A kustomization with "namespace:" sets metadata.namespace of all objects but those whose kind it takes for one of the whole cluster.
# The kinds that it takes for such are those of an old API. So RuntimeClass and ValidatingWebhookConfiguration stay without one, and
# ValidatingAdmissionPolicy, MutatingAdmissionPolicy, FlowSchema, DeviceClass and IPAddress get one, although kubectl itself is of a
# version whose API has them in no namespace. kubectl apply takes them all the same (seen with an API server 1.34). Who compares what
# kustomize printed with what is in the cluster, or with what Helm printed, finds objects that differ.
#
# It needs Debian's tools (apt-get, dpkg-deb) and its mirror, and takes a minute. It prints:
#
#   kubectl 1.36.4: in no namespace: CSIDriver RuntimeClass ValidatingWebhookConfiguration
#   kubectl 1.36.4: in namespace shop: ConfigMap DeviceClass FlowSchema IPAddress MutatingAdmissionPolicy ValidatingAdmissionPolicy
set -eu
version=1.36.4+ds-1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir -p lists/partial cache/archives/partial shop
: >status
mirror=${OCI_APPARMOR_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror forky main" >sources.list
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$tmp/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::Lists="$tmp/lists" \
		-o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp/cache" -o APT::Sandbox::User= "$@"
}
apt update
apt download "kubectl=$version" libc6
for package in *.deb; do dpkg-deb -x "$package" tree; done
kubectl() { tree/usr/lib64/ld-linux-x86-64.so.2 --library-path tree/usr/lib/x86_64-linux-gnu tree/usr/bin/kubectl "$@"; }

for kind in v1:ConfigMap node.k8s.io/v1:RuntimeClass storage.k8s.io/v1:CSIDriver networking.k8s.io/v1:IPAddress \
	admissionregistration.k8s.io/v1:ValidatingWebhookConfiguration admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy \
	admissionregistration.k8s.io/v1:MutatingAdmissionPolicy flowcontrol.apiserver.k8s.io/v1:FlowSchema resource.k8s.io/v1:DeviceClass; do
	printf -- '---\napiVersion: %s\nkind: %s\nmetadata: {name: one}\n' "${kind%:*}" "${kind#*:}"
done >shop/all.yaml
printf 'namespace: shop\nresources: [all.yaml]\n' >shop/kustomization.yaml
kubectl kustomize shop >made
kinds() { # of the objects whose number of lines "namespace: shop" is $1
	awk -v want="$1" '
		function end() { if (kind != "" && has == want) print kind; kind = ""; has = 0 }
		/^---/ { end() } /^kind: / { kind = $2 } /^  namespace: shop$/ { has = 1 } END { end() }' made | sort | paste -sd ' ' -
}
none=$(kinds 0) some=$(kinds 1)
echo "kubectl ${version%%+*}: in no namespace: $none"
echo "kubectl ${version%%+*}: in namespace shop: $some"
test "$none" = "CSIDriver RuntimeClass ValidatingWebhookConfiguration"
test "$some" = "ConfigMap DeviceClass FlowSchema IPAddress MutatingAdmissionPolicy ValidatingAdmissionPolicy"
