package agent

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// Presence is what the API server says of a DaemonSet.
type Presence int

const (
	Present Presence = iota
	Gone             // there is none of that name, or it is being deleted
	Hidden           // the API server gives no right to ask, or does not know the account or its pod any more
)

// DaemonSet asks for a DaemonSet (k8s.io/api/apps/v1). It is an error if the API server does not answer. Hidden may mean that the
// rights were deleted with the DaemonSet. It also is the answer to a pod that was deleted by force, as its token is bound to it.
func (k *Kube) DaemonSet(ctx context.Context, namespace, name string) (Presence, error) {
	var ds struct {
		Metadata struct {
			DeletionTimestamp *time.Time `json:"deletionTimestamp"`
		} `json:"metadata"`
	}
	err := k.do(ctx, http.MethodGet, "/apis/apps/v1/namespaces/"+url.PathEscape(namespace)+"/daemonsets/"+url.PathEscape(name), "", nil, &ds)
	var answer *statusError
	switch {
	case err == nil && ds.Metadata.DeletionTimestamp != nil:
		return Gone, nil
	case errors.As(err, &answer) && answer.code == http.StatusNotFound:
		return Gone, nil
	case errors.As(err, &answer) && (answer.code == http.StatusForbidden || answer.code == http.StatusUnauthorized):
		return Hidden, nil
	}
	return Present, err
}

// Unmark takes what the agent has written on a Node off it again, but for events.
func (k *Kube) Unmark(ctx context.Context, node string) error {
	return errors.Join(
		k.mark(ctx, node, map[string]*string{ReadyLabel: nil}, map[string]*string{PolicyAnnotation: nil, RefusedAnnotation: nil}),
		k.do(ctx, http.MethodPatch, nodePath(node)+"/status", strategicPatch,
			map[string]any{"status": map[string]any{"conditions": []any{map[string]any{"$patch": "delete", "type": ReadyCondition}}}}, nil))
}
