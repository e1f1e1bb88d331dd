package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Kube talks to the API server of a cluster as the agent's service account. It is a few requests by net/http: client-go would
// take more memory than the whole agent may.
type Kube struct {
	server *url.URL
	files  *os.Root // the service account's token and the server's certificates
}

// SecretsDir is where a pod has its service account's files.
const SecretsDir = "/var/run/secrets/kubernetes.io/serviceaccount"

const (
	kubeTimeout = 20 * time.Second
	maxAnswer   = 8 << 20 // bytes; a Node names all images that it has
)

// NewKube returns access to the API server at an address, "https://HOST:PORT", or at the one that the environment of a pod
// names if it is empty. files has the service account's files. They are read anew for each request, because the kubelet
// replaces them.
func NewKube(server string, files *os.Root) (*Kube, error) {
	if server == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" || port == "" {
			return nil, errors.New("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this is no pod, and the API server is to be named")
		}
		server = "https://" + net.JoinHostPort(host, port)
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%q is no address of an API server: https://HOST:PORT", server)
	}
	u.Path = ""
	return &Kube{u, files}, nil
}

// statusError is the answer to a request that was not carried out.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string {
	if e.message == "" {
		return fmt.Sprintf("the API server answers %d %s", e.code, http.StatusText(e.code))
	}
	return fmt.Sprintf("the API server answers %d: %s", e.code, e.message)
}

// do makes a request with a body in JSON, which may be nil, and decodes the answer into another value, which may be nil.
func (k *Kube) do(ctx context.Context, method, path, kind string, body, into any) error {
	token, err := k.files.ReadFile("token")
	if err != nil {
		return fmt.Errorf("the token of the service account: %w", err)
	}
	ca, err := k.files.ReadFile("ca.crt")
	if err != nil {
		return fmt.Errorf("the certificates of the API server: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("the certificates of the API server: ca.crt has none")
	}
	var data io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		data = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, kubeTimeout, fmt.Errorf("the API server does not answer in %v", kubeTimeout))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, k.server.String()+path, data)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Accept", "application/json")
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	// A connection for each request: hours may be between two, and nothing is kept open for that.
	client := http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, TLSHandshakeTimeout: kubeTimeout,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this server
	}
	answer, err := client.Do(request)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(b) > maxAnswer:
		return fmt.Errorf("the API server's answer has more than %d bytes", maxAnswer)
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		var status struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(b, &status) // else the code says enough
		return &statusError{answer.StatusCode, clean(status.Message)}
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("the API server's answer: %w", err)
	}
	return nil
}

// kubeNode is what the agent reads of a Node (k8s.io/api/core/v1).
type kubeNode struct {
	Metadata struct {
		UID         string            `json:"uid"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Status struct {
		RuntimeHandlers []struct {
			Name string `json:"name"`
		} `json:"runtimeHandlers"`
		Conditions []kubeCondition `json:"conditions"`
	} `json:"status"`
}

type kubeCondition struct {
	Type               string `json:"type"`
	Status             string `json:"status"`
	Reason             string `json:"reason"`
	Message            string `json:"message"`
	LastHeartbeatTime  string `json:"lastHeartbeatTime,omitempty"`
	LastTransitionTime string `json:"lastTransitionTime,omitempty"`
}

func nodePath(name string) string { return "/api/v1/nodes/" + url.PathEscape(name) }

func (k *Kube) node(ctx context.Context, name string) (n kubeNode, err error) {
	return n, k.do(ctx, http.MethodGet, nodePath(name), "", nil, &n)
}

// The kinds of patches. A merge patch removes a key by null; a strategic one merges the list of conditions by their types.
const (
	mergePatch     = "application/merge-patch+json"
	strategicPatch = "application/strategic-merge-patch+json"
)

// mark sets labels and annotations of a Node, and removes those that are nil.
func (k *Kube) mark(ctx context.Context, name string, labels, annotations map[string]*string) error {
	return k.do(ctx, http.MethodPatch, nodePath(name), mergePatch,
		map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}}, nil)
}

func (k *Kube) condition(ctx context.Context, name string, c kubeCondition) error {
	return k.do(ctx, http.MethodPatch, nodePath(name)+"/status", strategicPatch,
		map[string]any{"status": map[string]any{"conditions": []kubeCondition{c}}}, nil)
}

// event makes an event of a Node. Those of things without a namespace are in the namespace default.
func (k *Kube) event(ctx context.Context, node, uid, kind, reason, message string) error {
	now := time.Now().UTC().Format(time.RFC3339)
	return k.do(ctx, http.MethodPost, "/api/v1/namespaces/default/events", "application/json", map[string]any{
		"apiVersion": "v1", "kind": "Event", "type": kind, "reason": reason, "message": message, "count": 1,
		"metadata":       map[string]any{"generateName": "oci-apparmor-", "namespace": "default"},
		"involvedObject": map[string]any{"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid},
		"source":         map[string]any{"component": "oci-apparmor", "host": node},
		"firstTimestamp": now, "lastTimestamp": now,
		"reportingComponent": "oci-apparmor", "reportingInstance": node,
	}, nil)
}
