package policyfile

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/nearest"
)

// didYouMean returns the one of words that is nearest to word, as the end of an error: `; did you mean "image"?`. It
// returns an empty string if none is near.
func didYouMean(word string, words []string) string {
	if word := nearest.Of(word, words); word != "" {
		return fmt.Sprintf("; did you mean %q?", word)
	}
	return ""
}

// meantEngine is didYouMean for the name of an engine, for which people also write what runs on it.
func meantEngine(word string) string {
	switch meant := engine.Meant(word); len(meant) {
	case 0:
		return didYouMean(word, engine.Names())
	case 1:
		return fmt.Sprintf("; did you mean %q?", meant[0])
	default:
		return fmt.Sprintf("; did you mean [%s]?", strings.Join(meant, ", "))
	}
}
