package profile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// ConfFile is the configuration of the node's apparmor_parser. Some distributions set in it the ABI of texts that name
// none.
const ConfFile = "/etc/apparmor/parser.conf"

// maxConf is the greatest size of that file in bytes. Distributions ship 2 KiB, nearly all of it comments.
const maxConf = 64 << 10

// meaningful are the options of apparmor_parser (long_options in parser/parser_main.c, 3.0 to 4.1) that decide what a text
// means: under which ABI its rules are read, and where its includes are looked for. Everything else in the file is about
// caches, output and the layout of the same rules, and would make a blob depend on what does not matter.
var meaningful = []string{"policy-features", "compile-features", "override-policy-abi", "features-file", "match-string",
	"Include", "readimpliesX"}

// kernelSpeaking are those that say which kernel to compile for.
var kernelSpeaking = []string{"kernel-features", "features-file"}

// Conf has the options in a configuration file of apparmor_parser that decide what a text means. The zero value has
// none: the parser then uses its built-in ABI for a text that names none.
type Conf struct {
	Text           []byte // the lines of the file with such options, unchanged
	KernelFeatures string // path of the file with the features to compile for; empty stands for the running kernel's
}

// ReadConf reads a configuration file of apparmor_parser as getopt_long_file does (parser/parser_main.c). A line is one
// option, whose name ends at a blank or "=". If an option occurs twice, the last one counts. For a file that does not
// exist, ReadConf returns the zero Conf and no error.
func ReadConf(path string) (Conf, error) {
	var c Conf
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the configuration of apparmor_parser: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConf+1))
	if err == nil && len(text) > maxConf {
		err = fmt.Errorf("%s has more than %d bytes", path, maxConf)
	}
	if err != nil {
		return c, fmt.Errorf("read the configuration of apparmor_parser: %w", err)
	}
	for line := range bytes.Lines(text) {
		name, value := option(string(line))
		if slices.Contains(kernelSpeaking, name) && value != "" {
			c.KernelFeatures = value
		}
		if !slices.Contains(meaningful, name) {
			continue
		}
		if value == "<kernel>" { // which the parser would ask the running kernel for
			line = []byte(name + "=" + featuresPath + "\n")
		}
		c.Text = append(c.Text, bytes.TrimRight(line, "\n")...)
		c.Text = append(c.Text, '\n')
	}
	return c, nil
}

// option returns the name and the value of the option in a line of the file. The name is empty if the line has no
// option.
func option(line string) (name, value string) {
	line = strings.TrimLeft(line, " \t")
	if strings.HasPrefix(line, "#") {
		return "", ""
	}
	line = strings.TrimLeft(line, " \t\r\n=")
	end := strings.IndexAny(line, " \t\r\n=")
	if end < 0 {
		return line, ""
	}
	return line[:end], strings.TrimSuffix(strings.TrimLeft(line[end+1:], " \t"), "\n")
}

// conf returns a file in memory that has the compiler's configuration.
func (c *Compiler) conf() (*os.File, error) {
	conf, err := ReadConf(cmp.Or(c.Conf, ConfFile))
	if err != nil {
		return nil, err
	}
	return memfile("parser.conf", conf.Text)
}
