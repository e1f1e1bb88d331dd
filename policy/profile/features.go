package profile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// FeaturesDir is the directory in which the kernel shows what its AppArmor mediates.
const FeaturesDir = "/sys/kernel/security/apparmor/features"

const (
	maxFeatures      = 64 << 10 // bytes of the text form; kernels 6.1 to 7.2 have 2 to 3 KiB, the parser takes 8
	maxFeaturesDepth = 16       // directories below each other; kernels have 3
)

// ReadFeatures returns the kernel's features in the form that apparmor_parser reads. A file becomes "name {content}". A
// directory becomes the same with its entries as the content. Each ends with a newline, and entries are sorted by name.
// dir is FeaturesDir outside of tests.
//
// The error wraps fs.ErrNotExist if the kernel has no AppArmor, or securityfs is not mounted.
func ReadFeatures(dir string) ([]byte, error) {
	var b strings.Builder
	if err := readFeatures(&b, dir, 0); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the kernel reports no AppArmor features: it runs without AppArmor, or securityfs is "+
				"not mounted: %w", err)
		}
		return nil, fmt.Errorf("read the kernel's AppArmor features: %w", err)
	}
	if b.Len() == 0 {
		return nil, fmt.Errorf("read the kernel's AppArmor features: %s is empty", dir)
	}
	return []byte(b.String()), nil
}

func readFeatures(b *strings.Builder, dir string, depth int) error {
	if depth > maxFeaturesDepth {
		return fmt.Errorf("%s: more than %d directories deep", dir, maxFeaturesDepth)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if i := strings.IndexFunc(e.Name(), notFeature); i >= 0 || strings.ContainsAny(e.Name(), " \t\n") {
			return fmt.Errorf("%s: no name of a feature", oneline.Quote(path))
		}
		b.WriteString(e.Name() + " {")
		switch {
		case e.IsDir():
			err = readFeatures(b, path, depth+1)
		case e.Type().IsRegular():
			err = readFeature(b, path)
		default:
			err = fmt.Errorf("%s: neither file nor directory", path)
		}
		if err != nil {
			return err
		}
		b.WriteString("}\n")
		if b.Len() > maxFeatures {
			return fmt.Errorf("%s: more than %d bytes of features", path, maxFeatures)
		}
	}
	return nil
}

func readFeature(b *strings.Builder, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	value, err := io.ReadAll(io.LimitReader(f, maxFeatures+1))
	if err != nil {
		return err
	}
	if i := strings.IndexFunc(string(value), notFeature); i >= 0 {
		return fmt.Errorf("%s: holds %s, which is no part of a feature", path, oneline.Quote(string(value[i:i+1])))
	}
	b.Write(value)
	return nil
}

// notFeature reports whether a character would change the structure of the text form.
func notFeature(c rune) bool {
	return c == '{' || c == '}' || c != '\n' && c != '\t' && (c < ' ' || c > '~')
}

// withoutFeature removes the entries called name, and all that they contain, from features in text form.
func withoutFeature(features, name string) (string, error) {
	for from := 0; ; {
		i := strings.Index(features[from:], name+" {")
		if i < 0 {
			return features, nil
		}
		i += from
		if i > 0 && !strings.ContainsAny(features[i-1:i], "{} \t\n") {
			from = i + 1
			continue
		}
		end, depth := i+len(name), 0
		for ; end < len(features); end++ {
			if features[end] == '{' {
				depth++
			} else if features[end] == '}' {
				if depth--; depth == 0 {
					break
				}
			}
		}
		if end == len(features) {
			return "", fmt.Errorf("kernel features: %q has no closing brace", name)
		}
		features, from = features[:i]+strings.TrimPrefix(features[end+1:], "\n"), i
	}
}
