package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// filePermissions are the permissions of files that have a word.
var filePermissions = permissionNames{
	{Word: "read", Bits: meaning.MayRead},
	{Word: "write", Bits: meaning.MayWrite},
	{Word: "append", Bits: meaning.MayAppend},
	{Word: "create", Bits: meaning.MayCreate},
	{Word: "delete", Bits: meaning.MayDelete},
	{Word: "rename", Bits: meaning.MayRename},
	{Word: "setattr", Bits: meaning.MaySetAttr},
	{Word: "getattr", Bits: meaning.MayGetAttr},
	{Word: "chmod", Bits: meaning.MayChmod},
	{Word: "chown", Bits: meaning.MayChown},
	{Word: "lock", Bits: meaning.MayLock},
	{Word: "mmap", Bits: meaning.MayMmapExec},
}

// letters are the permissions that letters stand for, each of which is asked for alone.
var letters = map[byte][]uint32{
	'r': {meaning.MayRead},
	'w': {meaning.MayWrite, meaning.MayAppend, meaning.MayCreate, meaning.MayDelete, meaning.MaySetAttr, meaning.MayChmod,
		meaning.MayChown},
	'a': {meaning.MayAppend},
	'k': {meaning.MayLock},
	'm': {meaning.MayMmapExec},
}

// ways are the words for executing a program.
var ways = map[string]meaning.Way{"x": meaning.WayAny, "ix": meaning.WaySame, "ux": meaning.WayUnconfined,
	"px": meaning.WayOther, "cx": meaning.WayChild}

// A permissions is what a line asks of a file.
type permissions struct {
	wants []uint32 // each is asked for alone
	link  bool
	exec  bool
	way   meaning.Way
}

// permissionsOf reads a word of permissions: one with a name, several joined by "+", or letters.
func permissionsOf(text string) (p permissions, err error) {
	if want, ok := filePermissions.want(text); ok {
		return permissions{wants: []uint32{want}}, nil
	}
	rest := text
	for _, name := range []string{"ix", "ux", "px", "cx", "x"} {
		if rest, p.exec = strings.CutSuffix(text, name); p.exec {
			p.way = ways[name]
			break
		}
	}
	for i := range len(rest) {
		if rest[i] == 'l' {
			p.link = true
			continue
		}
		wants, ok := letters[rest[i]]
		if !ok {
			return p, fmt.Errorf("%s is no permission of a file: letters of r, w, a, k, m and l, behind them x, ix, px, cx or ux; or %s",
				oneline.Quote(text), listed(filePermissions.words()))
		}
		p.wants = append(p.wants, wants...)
	}
	return p, nil
}

// file reads "[owner|other] [file] PERMISSIONS PATH [-> TARGET]", "[owner|other] link PATH [-> PATH]" and "file" alone.
func (p *parser) file() error {
	whose, _ := p.whose()
	file := p.skip("file")
	switch {
	case file && !p.more():
		perms, _ := permissionsOf("rwaklmx")
		return p.files(perms, whose, glob{kind: paths}, nil)
	case !p.more():
		return fmt.Errorf("a permission of a file and a path are missing at the end")
	}
	if p.skip("link") {
		p.skip("subset")
		return p.fileOf(permissions{link: true}, whose)
	}
	w := p.words[p.at]
	if w.quoted || w.listed || w.key != "" || strings.HasPrefix(w.text, "/") { // a path may stand ahead of the permissions
		if p.at++; !p.more() {
			return fmt.Errorf("%s is followed by no permission: r, w, a, k, m, l, x or another one", shown(w))
		}
		p.words = slices.Clone(p.words)
		p.words[p.at-1], p.words[p.at] = p.words[p.at], w
		p.at--
	}
	perms, err := permissionsOf(p.words[p.at].text)
	if err != nil {
		return err
	}
	p.at++
	return p.fileOf(perms, whose)
}

// whose reads "owner" or "other", and returns which of the two an access is about. It reports whether there is a word.
func (p *parser) whose() (owner []bool, said bool) {
	switch {
	case p.skip("owner"):
		return []bool{true}, true
	case p.skip("other"):
		return []bool{false}, true
	}
	return []bool{true, false}, false
}

// fileOf reads a path, and what it is linked to or under what it is executed.
func (p *parser) fileOf(perms permissions, whose []bool) error {
	path, err := p.text(paths, "a path")
	if err != nil {
		return err
	}
	if !perms.link && !perms.exec {
		if err := p.end(""); err != nil {
			return err
		}
		return p.files(perms, whose, path, nil)
	}
	if !p.skip("->") {
		if err := p.end(`"->" and a path or label`); err != nil {
			return err
		}
		return p.files(perms, whose, path, nil)
	}
	if perms.link && perms.exec {
		return fmt.Errorf(`"->" is wrong behind both l and x: write them in two lines`)
	}
	if !p.more() {
		return fmt.Errorf(`"->" is followed by nothing: a path of a link, or a label of an executed program`)
	}
	target := p.words[p.at]
	p.at++
	if err := p.end(""); err != nil {
		return err
	}
	return p.files(perms, whose, path, &target)
}

// files asks about files.
func (p *parser) files(perms permissions, whose []bool, path glob, target *word) error {
	var like, links, execs []meaning.Access
	to := meaning.Destination{Way: perms.way}
	linked := glob{kind: files}
	var err error
	switch {
	case target == nil:
	case perms.link:
		linked, err = globOf(files, *target)
	default:
		to, err = destination(perms.way, *target)
	}
	if err != nil {
		return err
	}
	for _, owner := range whose {
		for _, want := range perms.wants {
			like = append(like, meaning.FileAccess{Want: want, Owner: owner})
		}
		links = append(links, meaning.LinkAccess{Owner: owner})
		execs = append(execs, meaning.ExecAccess{Owner: owner, To: to})
	}
	if len(like) > 0 {
		p.asks(like, path)
	}
	path.kind = files // no directory is linked or executed
	if perms.link {
		p.asks(links, path, linked)
	}
	if perms.exec {
		p.asks(execs, path)
	}
	return nil
}

// destination reads the label under which a program is to go on.
func destination(way meaning.Way, w word) (meaning.Destination, error) {
	label, plain := plainText(w)
	switch {
	case !plain || label == "":
		return meaning.Destination{}, fmt.Errorf("%s is no single label", shown(w))
	case way == meaning.WaySame || way == meaning.WayUnconfined:
		return meaning.Destination{}, fmt.Errorf(`"->" is wrong behind ix and ux: only x, px and cx go on under a label`)
	case way == meaning.WayAny && label == "unconfined":
		return meaning.Destination{Way: meaning.WayUnconfined}, nil
	case way == meaning.WayAny:
		way = meaning.WayLabel
	}
	return meaning.Destination{Way: way, Label: label}, nil
}

// plainText returns the only text that a word matches, and whether there is such a one.
func plainText(w word) (string, bool) {
	if w.listed || w.key != "" {
		return "", false
	}
	text, err := pattern(w.text)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case strings.IndexByte("*?[{", c) >= 0:
			return "", false
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// formatFile writes an access to a file.
func formatFile(a meaning.FileAccess) string {
	return whose(a.Owner) + filePermissions.joined(a.Want) + " " + literal(a.Path)
}

func formatLink(a meaning.LinkAccess) string {
	return whose(a.Owner) + "l " + literal(a.Path) + " -> " + literal(a.Target)
}

func formatExec(a meaning.ExecAccess) string {
	way := "x"
	for word, one := range ways {
		if one == a.To.Way {
			way = word
		}
	}
	text := whose(a.Owner) + way + " " + literal(a.Path)
	if a.To.Label != "" {
		text += " -> " + literal(a.To.Label)
	}
	return text
}

func whose(owner bool) string {
	if owner {
		return "owner "
	}
	return "other "
}
