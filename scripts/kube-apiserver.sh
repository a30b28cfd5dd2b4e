#!/bin/bash
# A real Kubernetes API server on loopback, for tests of a Kubernetes client:
# build it from Debian's own source package, then run it beside an etcd.
#
# usage: kube-apiserver.sh build [DIR]
#          makes DIR/kube-apiserver (Kubernetes 1.20, about 110 MB; 5 to 15
#          minutes on 2 cores, 3 GB of disk while it builds). Without DIR it is
#          where the tests look: /var/cache/jogi/kube-apiserver
#        kube-apiserver.sh start DIR PORT
#          etcd on PORT+1 and PORT+2, the API on https://127.0.0.1:PORT; waits
#          until it is ready. In DIR/run: ca.crt, token (admin), podtoken (the
#          service account default/spilo, under RBAC), kubeconfig, pid files
#        kube-apiserver.sh stop DIR
# needs: build: Debian bookworm with packages golang-go, dpkg-dev, ca-certificates
#               and golang-github-modern-go-reflect2-dev (the copy in the source
#               predates Go 1.18 and crashes with a newer Go)
#        start: etcd-server, openssl, curl
# There is no scheduler, controller or kubelet: pods stay Pending, and a test
# sets their status and labels itself. Endpoints, ConfigMaps, Leases, Pods,
# watches, resource versions, optimistic locking and RBAC are the real ones.
set -euo pipefail
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2; exit 2; }
[ $# -ge 1 ] || usage
verb=$1
where=${2:-/var/cache/jogi/kube-apiserver}
mkdir -p "$where"
dir=$(cd "$where" && pwd)

build() {
  local mirror apt src v reflect2=/usr/share/gocode/src/github.com/modern-go/reflect2
  [ -d "$reflect2" ] || { echo "golang-github-modern-go-reflect2-dev is missing" >&2; exit 1; }
  src=$dir/go/src/k8s.io/kubernetes
  if [ ! -d "$src/cmd/kube-apiserver" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Created-By: Packages' |
      sed -n 's, Debian$,,p' | sort -u | head -n 1)
    mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/dl" "$src"
    echo "deb-src ${mirror%/} bookworm main" > "$dir/apt/sources.list"
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$dir/apt/sources.list" -o Dir::Etc::sourceparts=-
      -o "Dir::State::Lists=$dir/apt/lists" -o "Dir::Cache=$dir/apt/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$dir/dl" && "${apt[@]}" source --download-only kubernetes)
    tar -C "$src" --strip-components=1 -xzf "$dir"/dl/kubernetes_*.orig.tar.gz
  fi
  cd "$src"
  rm -rf vendor/github.com/modern-go/reflect2
  cp -rL "$reflect2" vendor/github.com/modern-go/
  # Debian's kubectl needs no generated API description, the server does
  export CGO_ENABLED=0 GO111MODULE=off GOPATH=$dir/go GOCACHE=$dir/cache
  if [ ! -s pkg/generated/openapi/zz_generated.openapi.go ]; then
    go build -o "$dir/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    "$dir/openapi-gen" --go-header-file vendor/k8s.io/code-generator/hack/boilerplate.go.txt \
      -i "$(find -L pkg vendor/k8s.io -name '*.go' -not -path '*/code-generator/*' -not -path '*/sample-*' -print0 |
        xargs -0 grep -l '+k8s:openapi-gen=' | xargs -n1 dirname | LC_ALL=C sort -u |
        sed 's,^,k8s.io/kubernetes/,' | paste -sd, -)" \
      -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
      -r "$dir/violations" -o "$dir/go/src"
  fi
  flags='-s -w'
  for v in component-base/version client-go/pkg/version; do
    v=k8s.io/kubernetes/vendor/k8s.io/$v
    flags="$flags -X $v.gitVersion=v1.20.2 -X $v.gitMajor=1 -X $v.gitMinor=20"
  done
  go build -trimpath -ldflags "$flags" -o "$dir/kube-apiserver" ./cmd/kube-apiserver
  "$dir/kube-apiserver" --version
  # gigabytes of sources and objects, of no use any more
  chmod -R u+w "$dir/go" "$dir/cache"
  rm -rf "$dir/go" "$dir/cache" "$dir/apt" "$dir/dl" "$dir/violations" "$dir/openapi-gen"
}

start() {
  local port=$1 r=$dir/run t=0
  [ -x "$dir/kube-apiserver" ] || { echo "no $dir/kube-apiserver: build it first" >&2; exit 1; }
  rm -rf "$r"; mkdir -p "$r"; cd "$r"
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=test-ca 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=kube-apiserver 2>/dev/null
  openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out tls.crt \
    -extfile <(echo 'subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc,IP:127.0.0.1') 2>/dev/null
  openssl rand -hex 16 > token; openssl rand -hex 16 > podtoken
  printf '%s,admin,1,"system:masters"\n%s,system:serviceaccount:default:spilo,2,"system:serviceaccounts,system:serviceaccounts:default"\n' \
    "$(cat token)" "$(cat podtoken)" > tokens.csv
  chmod 600 tokens.csv token podtoken ./*.key
  cat > kubeconfig <<EOF
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$port", certificate-authority: $r/ca.crt}}]
users: [{name: admin, user: {token: $(cat token)}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
EOF
  etcd --name k8s --data-dir "$r/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$((port + 1))" --advertise-client-urls "http://127.0.0.1:$((port + 1))" \
    --listen-peer-urls "http://127.0.0.1:$((port + 2))" > etcd.log 2>&1 &
  echo $! > etcd.pid
  # an API server refuses a loopback advertise address; nothing uses this one
  "$dir/kube-apiserver" --etcd-servers="http://127.0.0.1:$((port + 1))" \
    --bind-address=127.0.0.1 --secure-port="$port" --advertise-address=192.0.2.1 \
    --endpoint-reconciler-type=none --service-cluster-ip-range=10.96.0.0/16 \
    --tls-cert-file=tls.crt --tls-private-key-file=tls.key --token-auth-file=tokens.csv \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file=sa.key --service-account-signing-key-file=sa.key \
    --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount > apiserver.log 2>&1 &
  echo $! > apiserver.pid
  until [ "$(curl -s --cacert ca.crt -H "Authorization: Bearer $(cat token)" "https://127.0.0.1:$port/readyz")" = ok ]; do
    t=$((t + 1))
    if [ "$t" -gt 240 ] || ! kill -0 "$(cat apiserver.pid)" 2>/dev/null; then
      tail -n 20 apiserver.log >&2; exit 1
    fi
    sleep 0.5
  done
  echo "https://127.0.0.1:$port is ready; $r/kubeconfig"
}

stop() {
  local f
  for f in apiserver etcd; do
    [ ! -e "$dir/run/$f.pid" ] || kill "$(cat "$dir/run/$f.pid")" 2>/dev/null || true
    rm -f "$dir/run/$f.pid"
  done
}

case $verb in
  build) build ;;
  start) [ $# -eq 3 ] || usage; start "$3" ;;
  stop) stop ;;
  *) usage ;;
esac
