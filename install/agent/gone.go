package agent

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// DaemonSetGone reports whether a DaemonSet is gone or is being deleted (k8s.io/api/apps/v1). So it is if the API server does not know
// the service account any more, or gives it no right to ask: these were deleted together with it. An API server that does not
// answer is an error.
func (k *Kube) DaemonSetGone(ctx context.Context, namespace, name string) (bool, error) {
	var ds struct {
		Metadata struct {
			DeletionTimestamp *time.Time `json:"deletionTimestamp"`
		} `json:"metadata"`
	}
	err := k.do(ctx, http.MethodGet, "/apis/apps/v1/namespaces/"+url.PathEscape(namespace)+"/daemonsets/"+url.PathEscape(name), "", nil, &ds)
	var answer *statusError
	if errors.As(err, &answer) {
		switch answer.code {
		case http.StatusNotFound, http.StatusForbidden, http.StatusUnauthorized:
			return true, nil
		}
	}
	return err == nil && ds.Metadata.DeletionTimestamp != nil, err
}
