// Package revision reads a directory as it was at a revision of the git repository that it is in. It runs the git program,
// and nothing that the repository configures: no hook, filter, pager, alias, helper or remote.
package revision

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Limits of what is read of a directory.
const (
	mostFiles = 1 << 13
	mostBytes = 1 << 26
)

// Extract writes the files of a directory as they were at a revision below an empty directory. Links that lead out of the
// directory, and submodules, are left out. The error says what git says.
func Extract(ctx context.Context, dir, rev, into string) error {
	if strings.HasPrefix(rev, "-") || rev == "" {
		return fmt.Errorf("%s is no revision", oneline.Name(rev))
	}
	commit, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}")
	var silent *exec.ExitError
	if errors.As(err, &silent) && ctx.Err() == nil {
		return fmt.Errorf("%s is no revision of the repository that %s is in", oneline.Name(rev), oneline.Name(dir))
	}
	if err != nil {
		return fmt.Errorf("%s is no revision of the repository that %s is in: %w", oneline.Name(rev), oneline.Name(dir), err)
	}
	prefix, err := git(ctx, dir, "rev-parse", "--show-prefix")
	if err != nil {
		return err
	}
	list, err := git(ctx, dir, "ls-tree", "-r", "-z", "--full-tree", strings.TrimSpace(commit)+":"+strings.TrimSuffix(prefix, "\n"))
	if err != nil {
		return fmt.Errorf("%s at revision %s: %w", oneline.Name(dir), oneline.Name(rev), err)
	}
	return extract(ctx, dir, strings.Split(strings.TrimSuffix(list, "\x00"), "\x00"), into)
}

// extract writes the files of a listing by git ls-tree -z.
func extract(ctx context.Context, dir string, list []string, into string) error {
	if len(list) > mostFiles {
		return fmt.Errorf("%d files, and a policy may have %d", len(list), mostFiles)
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer root.Close()
	objects, err := open(ctx, dir)
	if err != nil {
		return err
	}
	defer objects.close()
	for _, entry := range list {
		about, name, ok := strings.Cut(entry, "\t")
		fields := strings.Fields(about) // mode, type, object
		if !ok || len(fields) != 3 || fields[1] != "blob" {
			continue
		}
		if !filepath.IsLocal(name) {
			return fmt.Errorf("a file is named %s", oneline.Quote(name))
		}
		content, err := objects.read(fields[2])
		if err != nil {
			return fmt.Errorf("%s: %w", oneline.Name(name), err)
		}
		if err := write(root, name, fields[0], content); err != nil {
			return err
		}
	}
	return nil
}

// write makes a file, or a link that stays in the directory.
func write(root *os.Root, name, mode string, content []byte) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	if mode != "120000" {
		return root.WriteFile(name, content, 0o600)
	}
	to := string(content)
	if path.IsAbs(to) || !filepath.IsLocal(path.Join(path.Dir(name), to)) {
		return nil
	}
	return root.Symlink(to, name)
}

// command is git in a directory, with the configuration of the system and the user taken away, and what the repository's own
// could start made impossible: objects that are missing are not fetched by any transport. So the repository may be another
// user's, as a checkout is for root, which git by itself refuses to read.
func command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	fixed := []string{"--no-pager", "--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
		"-c", "protocol.allow=never", "-c", "core.pager=cat", "-c", "core.attributesFile=/dev/null",
		"-c", "safe.directory=*", "-C", dir}
	cmd := exec.CommandContext(ctx, "git", append(fixed, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_SYSTEM=/dev/null", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_NO_LAZY_FETCH=1",
		"GIT_ALLOW_PROTOCOL=none", "GIT_PROTOCOL_FROM_USER=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1",
		"GIT_LITERAL_PATHSPECS=1", "GIT_ASKPASS=/bin/false", "GIT_SSH_COMMAND=/bin/false"}
	return cmd
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := command(ctx, dir, args...)
	out, err := cmd.Output()
	if err == nil && len(out) > mostBytes {
		err = fmt.Errorf("git says more than %d bytes", mostBytes)
	}
	return string(out), said(err)
}

// said adds to an error of a command what the command has said.
func said(err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) && len(bytes.TrimSpace(e.Stderr)) > 0 {
		return errors.New(oneline.Output(e.Stderr))
	}
	return err
}

// objects reads the contents of files from git cat-file --batch.
type objects struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	all int64
}

func open(ctx context.Context, dir string) (*objects, error) {
	o := &objects{cmd: command(ctx, dir, "cat-file", "--batch")}
	var err error
	if o.in, err = o.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := o.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	o.out = bufio.NewReader(out)
	return o, o.cmd.Start()
}

// close ends git. What it has to say after the last object does not matter.
func (o *objects) close() {
	o.in.Close()
	o.cmd.Process.Kill()
	o.cmd.Wait()
}

func (o *objects) read(object string) ([]byte, error) {
	if _, err := fmt.Fprintln(o.in, object); err != nil {
		return nil, err
	}
	head, err := o.out.ReadString('\n') // OBJECT blob SIZE
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(head)
	if len(fields) != 3 || fields[1] != "blob" {
		return nil, errors.New("the repository lacks its content")
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return nil, err
	}
	if o.all += size; size < 0 || o.all > mostBytes {
		return nil, fmt.Errorf("the files have more than %d bytes", mostBytes)
	}
	content := make([]byte, size+1) // and a line break
	if _, err := io.ReadFull(o.out, content); err != nil {
		return nil, err
	}
	return content[:size], nil
}
