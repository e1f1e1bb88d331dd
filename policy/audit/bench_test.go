package audit

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
)

func BenchmarkReader(b *testing.B) {
	const record = `type=AVC msg=audit(1700000000.123:4): apparmor="DENIED" operation="open" profile="web-1" name="/srv/data/77/file" pid=4711 comm="nginx" requested_mask="r" denied_mask="r" fsuid=33 ouid=0` + "\n"
	const lines = 1000
	var text strings.Builder
	for i := range lines {
		text.WriteString(strings.Replace(record, ":4)", ":"+strconv.Itoa(1000+i)+")", 1))
	}
	log := []byte(text.String())
	b.ReportAllocs()
	b.SetBytes(int64(len(log)) / lines)
	var record1 Record
	for n := 0; n < b.N; {
		r := NewReader(bytes.NewReader(log))
		for ; n < b.N; n++ {
			if err := r.Next(&record1); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
