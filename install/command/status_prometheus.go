package command

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/metrics"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// metrics returns the metrics of the session's node.
func (s *session) metrics() *metrics.Node {
	return metrics.NewNode(s.State, s.Detect, s.Kernel.State)
}

// prometheus is --prometheus. It prints the metrics, or puts them in place of a file as a whole: node_exporter reads the file
// at any moment, and as another user than root.
func (s *session) prometheus(cmd *cobra.Command, file string) error {
	var others []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "prometheus" && f.Name != "output" && f.Name != "quiet" {
			others = append(others, "--"+f.Name)
		}
	})
	if len(others) > 0 {
		return exit.With(untellable, fmt.Errorf("--prometheus tells everything, and takes no %s", strings.Join(others, ", ")))
	}
	if !s.Root {
		return exit.With(noRight, errors.New("only root may see which profiles are loaded: run this as root"))
	}
	text, err := s.metrics().Text()
	if err != nil {
		return err
	}
	if file == "" {
		_, err = s.stdout.Write(text)
		return err
	}
	if filepath.Ext(file) != ".prom" {
		return exit.With(untellable, fmt.Errorf("--output %s: node_exporter reads only files whose names end in .prom", file))
	}
	return safefile.Replace(file, text, safefile.Options{Mode: 0o644})
}
