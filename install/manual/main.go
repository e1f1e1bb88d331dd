// manual writes the man pages of oci-apparmor's commands and the completions for shells, from the commands themselves: make
// build runs it.
//
//	manual DIR
//
// DIR becomes what share is below an installation's prefix: man/man8/*.8, bash-completion/completions/oci-apparmor,
// zsh/site-functions/_oci-apparmor and fish/vendor_completions.d/oci-apparmor.fish.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/oci-apparmor/oci-apparmor/install/command"
	"github.com/oci-apparmor/oci-apparmor/install/doctor"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manual DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "manual: %v\n", err)
		os.Exit(1)
	}
}

// write writes everything below dir.
func write(dir string) error {
	root := command.Commands()
	for path, generate := range map[string]func(path string) error{
		"bash-completion/completions/oci-apparmor":    func(path string) error { return root.GenBashCompletionFileV2(path, true) },
		"zsh/site-functions/_oci-apparmor":            root.GenZshCompletionFile,
		"fish/vendor_completions.d/oci-apparmor.fish": func(path string) error { return root.GenFishCompletionFile(path, true) },
		"man/man8/oci-apparmor.8":                     func(path string) error { return pages(root, filepath.Dir(path)) },
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := generate(path); err != nil {
			return err
		}
	}
	return nil
}

// pages writes a page for a command and for each below it. A page has the date of SOURCE_DATE_EPOCH, and else none: the
// same sources make the same pages.
func pages(cmd *cobra.Command, dir string) error {
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		if err := pages(c, dir); err != nil {
			return err
		}
	}
	page, err := page(cmd)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, pageName(cmd)+".8"), page, 0o644)
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// Package doc writes a flag as \fB--json\fP[=false] or \fB--id\fP="id".
var (
	switched = regexp.MustCompile(`\[=[a-z]*\]`)
	valued   = regexp.MustCompile(`(?m)^(.*\\fB--[a-z.-]+\\fP)="?([^"\n]+)"?$`)
)

func page(cmd *cobra.Command) ([]byte, error) {
	prepare(cmd)
	header := &doc.GenManHeader{Section: "8", Source: "oci-apparmor", Manual: "AppArmor"}
	if os.Getenv("SOURCE_DATE_EPOCH") == "" {
		header.Date = new(time.Time)
	}
	var out bytes.Buffer
	if err := doc.GenMan(cmd, header, &out); err != nil {
		return nil, err
	}
	text := strings.Replace(out.String(), `"Jan 0001"`, `""`, 1)
	text = switched.ReplaceAllString(text, "")
	text = valued.ReplaceAllString(text, `$1=\fI$2\fP`)
	return []byte(text), nil
}

// prepare turns the texts of a command's help into the Markdown that package doc reads. A block that is indented in the
// help, such as a list of exit codes, keeps its lines. A command that has others below it lists them.
func prepare(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	cmd.Long = markdown(cmd.Long)
	if cmd.Name() == "doctor" {
		cmd.Long += findings()
	}
	if !cmd.HasParent() {
		cmd.Long += files()
	}
	if cmd.HasAvailableSubCommands() {
		cmd.Long += "\n# COMMANDS\n"
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				cmd.Long += fmt.Sprintf("**%s**(8)\n\t%s\n\n", pageName(c), escape(c.Short))
			}
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		if f.NoOptDefVal == "" && f.DefValue == "" || f.DefValue == "[]" {
			f.DefValue = name
		}
		f.Usage = escape(usage)
	})
}

// findings is a section for each of the doctor's checks.
func findings() string {
	var out strings.Builder
	out.WriteString("\n# FINDINGS\n")
	for _, c := range doctor.Checks() {
		severity := strings.ToUpper(string(c.Severity[:1])) + string(c.Severity[1:])
		fmt.Fprintf(&out, "### %s\n%s: %s\n\n%s\n\n", c.ID, severity, escape(c.Looks), escape(c.Do))
		if c.Fixed != "" {
			fmt.Fprintf(&out, "**--fix** %s.\n\n", escape(c.Fixed))
		}
	}
	return out.String()
}

// files is the section of what the programs read and write, which stands in the page of all commands.
func files() string {
	var out strings.Builder
	out.WriteString("\n# FILES\n")
	for _, f := range [][2]string{
		{node.ConfigDir + "/policy.yaml", "the policy, see oci-apparmor-policy.yaml(5); policy apply puts it in force"},
		{node.ConfigDir + "/tests.yaml", "its tests, see oci-apparmor-tests.yaml(5); policy test runs them"},
		{node.ConfigDir + "/profiles/", "the texts of its profiles"},
		{store.Dir + "/", "the policy in force, the ones before it, and what install has changed in engines' files"},
		{"/run/oci-apparmor/containers/", "a record of each container until it is removed"},
		{"/etc/apparmor.d/NAME.oci-apparmor", "a profile of the policy for AppArmor's own service"},
	} {
		fmt.Fprintf(&out, "**%s**\n\t%s\n\n", escape(f[0]), escape(f[1]))
	}
	return out.String()
}

func markdown(help string) string {
	var out strings.Builder
	block := false
	for line := range strings.Lines(help) {
		indented := strings.HasPrefix(line, "  ")
		if indented && !block {
			out.WriteString("\n```\n")
		}
		if block && !indented {
			out.WriteString("```\n\n")
		}
		if block = indented; block {
			out.WriteString(line)
		} else {
			out.WriteString(escape(line))
		}
	}
	if block {
		out.WriteString("\n```\n")
	}
	return out.String()
}

// special is what Markdown takes for more than itself.
var special = regexp.MustCompile("[\\\\*_<>\\[\\]`#|~]")

func escape(text string) string { return special.ReplaceAllString(text, `\$0`) }
