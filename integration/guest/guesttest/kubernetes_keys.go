package guesttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// writeKeys makes the keys, certificates and tokens of a cluster, and the kubeconfigs of all that ask its API server.
func (k *ControlPlane) writeKeys() error {
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	k.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: x509.NewCertPool()}}}
	k.http.Transport.(*http.Transport).TLSClientConfig.RootCAs.AddCert(ca.certificate)
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(k.file("ca.crt"), pemOf("CERTIFICATE", ca.certificate.Raw), 0o644),
		writeKey(k.file("accounts.key"), accounts),
		ca.issue(k.file("apiserver"), "kube-apiserver", nil, "kubernetes.default.svc", "kubernetes", serviceAddress, nodeAddress, "127.0.0.1"),
		ca.issue(k.file("kubelet"), "system:node:"+nodeName, []string{"system:nodes"}, nodeName, nodeAddress),
		ca.issue(k.file("client"), "kube-apiserver-kubelet-client", []string{"system:masters"}))
	var tokens strings.Builder
	for _, i := range identities {
		// kube-apiserver reads it by encoding/csv: token, user, its id, its groups (tokenfile.NewCSV in k8s.io/apiserver).
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", i.token, i.user, i.user, strings.Join(i.groups, ","))
		err = errors.Join(err, k.writeKubeconfig(i))
	}
	return errors.Join(err, os.WriteFile(k.file("tokens.csv"), []byte(tokens.String()), 0o600))
}

// writeKubeconfig writes it in JSON, which YAML's readers read.
func (k *ControlPlane) writeKubeconfig(i identity) error {
	type object map[string]any
	text, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "guest",
		"clusters": []object{{"name": "guest", "cluster": object{"server": k.url(""), "certificate-authority": k.file("ca.crt")}}},
		"users":    []object{{"name": i.name, "user": object{"token": i.token}}},
		"contexts": []object{{"name": "guest", "context": object{"cluster": "guest", "user": i.name}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(k.Kubeconfig(i.name), text, 0o600)
}

// An authority issues the certificates of a cluster.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority() (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := certificateOf("guest", nil)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, err
	}
	certificate, err := x509.ParseCertificate(raw)
	return authority{key, certificate}, err
}

// certificateOf returns a certificate's content without its uses.
func certificateOf(name string, groups []string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// issue writes a key and its certificate to the files path.key and path.crt. hosts are names and addresses.
func (ca authority) issue(path, name string, groups []string, hosts ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificateOf(name, groups)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, key.Public(), ca.key)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path+".crt", pemOf("CERTIFICATE", raw), 0o644), writeKey(path+".key", key))
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pemOf("EC PRIVATE KEY", raw), 0o600)
}

func pemOf(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}
