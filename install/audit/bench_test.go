package audit

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// What it costs to read a log of 50,000 denials of 500 kinds, by processes that have ended, on a node with a hundred containers
// that have ended, too.
func BenchmarkRead(b *testing.B) {
	m := newMachine(b)
	for i := range 100 {
		id := fmt.Sprintf("c%d", i)
		m.create(id, 1000+i, "")
		m.end(id, 1000+i)
	}
	path := filepath.Join(b.TempDir(), "audit.log")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	const records = 50000
	at := time.Now()
	for i := range records {
		fmt.Fprintln(w, avc(at, fmt.Sprintf(`"DENIED" operation="open" class="file" profile="web" name="/srv/%d" pid=%d comm="cat" `+
			`requested_mask="r" denied_mask="r" fsuid=0 ouid=0`, i%500, gonePID+i%3000)))
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	time.Sleep(time.Until(at.Add(time.Second)))
	for b.Loop() {
		src, err := source.Open(b.Context(), path, source.Options{})
		if err != nil {
			b.Fatal(err)
		}
		var g Groups
		r, err := Read(b.Context(), &Joiner{Node: m.Node}, src, nil, Query{}, func(e *Event) error {
			g.Add(e)
			return nil
		})
		if err != nil || r.Shown != records || len(g.All()) != 500 {
			b.Fatalf("%v, %+v, %d groups", err, r, len(g.All()))
		}
		src.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
}
