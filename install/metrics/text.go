package metrics

import (
	"bytes"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// Text returns all metrics in Prometheus' text format, version 0.0.4, as node_exporter's textfile collector reads it.
func (n *Node) Text() ([]byte, error) {
	r := prometheus.NewRegistry()
	if err := r.Register(n); err != nil {
		return nil, err
	}
	families, err := r.Gather()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// Handler serves the metrics, in the format that the client asks for. Of clients that ask at once, some are sent away: a
// node's metrics are for one or two.
func (n *Node) Handler() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(n)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, DisableCompression: true})
}
