package audit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Asked is what a profile was asked when the kernel wrote a record.
type Asked struct {
	// Accesses has the access. Where the record leaves open which one it was, it has several, the likeliest first: what is
	// true of all of them is true of the one that it was.
	Accesses []meaning.Access

	// Open says what the record leaves open, in a clause: "the data of the mount is not logged". It is empty for most.
	Open string

	// Denied are the permissions that the record says were denied, of those in the access. They are 0 for what has no
	// permissions, and where the record does not say.
	Denied uint32
}

// A NoAccess is the error of Asked for a record of something about which no rule of a profile decides. Its message says
// what happened, and what to do.
type NoAccess struct {
	Because Because
	message string
}

func (e *NoAccess) Error() string { return e.message }

// Because is why a record stands for no access.
type Because uint8

const (
	OfThePolicy   Because = iota // it is about a profile that was loaded, replaced or removed
	Disconnected                 // the kernel found no path for a file, as for one outside of the mount namespace
	NoSuchLabel                  // the profile to which the process was to go is not loaded
	NoSuchHat                    // the profile has no such hat, or no way into it
	NoNewPrivs                   // no_new_privs forbids it
	Traced                       // a tracer that may not trace the other profile forbids it
	Converted                    // the kernel stacked the profile on unconfined, or put another one in its place
	NotConfined                  // no profile decided
	Unreadable                   // the record is cut short, lacks a field, or has a value that no kernel writes
	NotUnderstood                // of a kind that is not known here
	WrongToken                   // a program gave another token on its way out of a hat than on its way in
)

func because(b Because, format string, args ...any) error {
	return &NoAccess{b, fmt.Sprintf(format, args...)}
}

// Asked returns what the record's profile was asked. The error is a *NoAccess.
//
// Kernels since Linux 6.8 say the class of the access. Of others, the operation and the fields that only one class has tell
// it: the names of some operations are of several classes.
func (r *Record) Asked() (Asked, error) {
	if err := r.noAccess(); err != nil {
		return Asked{}, err
	}
	if slices.ContainsFunc(r.Fields, func(f Field) bool { return f.Cut }) { // of few records, and looking for each key takes long
		for _, key := range decisive {
			if f, ok := r.Field(key); ok && f.Cut {
				return Asked{}, because(Unreadable, "the record is cut short in its field %s, so that it does not tell what was asked", key)
			}
		}
	}
	a, err := r.class()(r)
	var known *NoAccess
	if err != nil && !errors.As(err, &known) {
		err = &NoAccess{Unreadable, err.Error()}
	}
	if err != nil {
		return Asked{}, err
	}
	return a, nil
}

// decisive are the fields that say what was asked.
var decisive = []string{"operation", "class", "info", "name", "target", "requested_mask", "requested", "mask", "peer", "capability",
	"family", "sock_type", "protocol", "signal", "srcname", "fstype", "flags", "addr", "peer_addr", "bus", "path", "interface",
	"member", "peer_label", "rlimit", "value", "tcontext"}

// noAccess returns an error for what is decided without rules.
func (r *Record) noAccess() error {
	switch r.Type {
	case Status:
		return because(OfThePolicy, "the record is about the kernel's policy, not about an access")
	case Error, Hint:
		return because(NotUnderstood, "a record of type %s is not about an access", r.Type)
	}
	info, name := r.Get("info"), cmp.Or(r.Get("target"), r.Get("name"))
	where := oneline.Quote(name)
	if name == "" && strings.HasPrefix(info, "hat not found") { // of several hats, none of which is there (change_hat)
		return because(NoSuchHat, "the profile has none of the hats that the process asked for, and the kernel does not log which these were: "+
			"write one into it, or correct the names in what asks for them")
	}
	for _, known := range infos {
		if !strings.HasPrefix(info, known.info) {
			continue
		}
		message := known.message
		if strings.Contains(message, "%s") {
			message = fmt.Sprintf(message, where)
		}
		return &NoAccess{known.because, message}
	}
	switch name, _ := r.Profile(); {
	case name == "":
		return because(Unreadable, "the record does not name a profile")
	case meaning.IsUnconfined(name):
		return because(NotConfined, "no profile decided about it: the process was unconfined")
	}
	return nil
}

// infos are beginnings of the field info that say that no rule decided (security/apparmor: path.c, domain.c, task.c).
var infos = []struct {
	info    string
	because Because
	message string // %s is the name that the record has
}{
	{"Failed name lookup - disconnected", Disconnected, "the kernel found no path to %s, since it is not below the root of the " +
		"process, as a file is that was opened outside of the container: the profile needs flags=(attach_disconnected)"},
	{"Failed name lookup - deleted entry", Disconnected, "the file %s has been deleted, and the profile looks at such files: " +
		"flags=(mediate_deleted) has them decided about by the path that they had"},
	{"Failed name lookup - name too long", Disconnected, "the path of %s is longer than the kernel reads " +
		"(/sys/module/apparmor/parameters/path_max)"},
	{"Failed name lookup", Disconnected, "the kernel found no path to %s"},
	{"no new privs", NoNewPrivs, "the process has no_new_privs, under which it can only go to a stack that has its own profile in it, " +
		"and not to %s: leave out no_new_privs, or have the rule say ix"},
	{"label not found", NoSuchLabel, "no profile %s is loaded: load it, or correct its name in what asks for it"},
	{"profile transition not found", NoSuchLabel, "the profile to which the exec of %s is to go is not loaded: load it, or write a " +
		"rule that goes elsewhere, as ix"},
	{"profile not found", NoSuchLabel, "no profile %s is loaded: load it, or correct its name in what asks for it"},
	{"hat not found", NoSuchHat, "the profile has no hat %s: write one into it, or correct the name in what asks for it"},
	{"no hats defined", NoSuchHat, "the profile has no hats, and the process asked for one: write it, or have the program not ask"},
	{"conflicting target", NoSuchHat, "the process is under a stack of profiles, of which some are hats and some are not, and cannot change " +
		"into a hat of all: have the program leave its hat first, or its label be one profile"},
	{"failed token match", WrongToken, "the program asked to leave its hat with another token than the one with which it came in, as somebody " +
		"does who guesses it, and the kernel killed it"},
	{"target not hat", NoSuchHat, "%s is a child of the profile and no hat: write it as a hat, or have the program change its profile"},
	{"target not a hat", NoSuchHat, "%s is a child of the profile and no hat: write it as a hat, or have the program change its profile"},
	{"ptrace prevents transition", Traced, "a debugger is at the process, and its profile may not trace what the process would be under: " +
		"end the debugger, or allow it ptrace of that profile"},
	{"unconfined can not change_hat", NotConfined, "no profile decided about it: a process without one has no hats"},
	{"change_profile unprivileged unconfined converted to stacking", Converted, "the kernel stacked the profile on unconfined, as " +
		"the setting kernel.apparmor_restrict_unprivileged_unconfined asks for"},
	{"Userns create - transitioning profile", Converted, "the kernel put the process under %s, as the setting " +
		"kernel.apparmor_restrict_unprivileged_userns asks for"},
}

// class returns what reads records of the class.
func (r *Record) class() func(*Record) (Asked, error) {
	if class, ok := r.Field("class"); ok {
		if read, known := classes[class.Value()]; known {
			return read
		}
		return notUnderstood
	}
	for _, of := range [...]struct {
		key  string
		read func(*Record) (Asked, error)
	}{{"family", askedSocket}, {"capability", askedCapability}, {"signal", askedSignal}, {"bus", askedDBus}, {"rlimit", askedLimit}} {
		if _, ok := r.Field(of.key); ok {
			return of.read
		}
	}
	if read, known := operations[r.Get("operation")]; known {
		return read
	}
	if requested, _ := r.Masks(); requested != "" && r.Get("name") != "" {
		return askedFile
	}
	return notUnderstood
}

// classes are what reads records of a class (aa_class_names, security/apparmor/audit.c).
var classes = map[string]func(*Record) (Asked, error){
	"file": askedOfFile, "cap": askedCapability, "net": askedSocket, "rlimits": askedLimit, "mount": askedMount,
	"ptrace": askedPtrace, "signal": askedSignal, "namespace": askedUserns, "io_uring": askedIOUring,
	"posix_mqueue": askedMqueue, "dbus": askedDBus,
}

// operations are those that by themselves tell the class. All others are of files.
var operations = map[string]func(*Record) (Asked, error){
	"capable": askedCapability, "ptrace": askedPtrace, "setrlimit": askedLimit, "userns_create": askedUserns,
	"uring_override": askedIOUring, "uring_sqpoll": askedIOUring,
	"mount": askedMount, "umount": askedMount, "pivotroot": askedMount,
	"exec": askedOfFile, "change_hat": askedOfFile, "change_profile": askedOfFile, "change_onexec": askedOfFile,
	"stack": askedOfFile, "stack_onexec": askedOfFile,
}

func notUnderstood(r *Record) (Asked, error) {
	return Asked{}, because(NotUnderstood, "accesses of this kind are not known here (operation %s, class %s)",
		oneline.Quote(r.Get("operation")), oneline.Quote(r.Get("class")))
}

func one(a meaning.Access) Asked { return Asked{Accesses: []meaning.Access{a}} }

// bits returns the permissions that the words of a mask stand for.
func bits(mask string, of []meaning.Permission) (all uint32, err error) {
	for word := range strings.FieldsSeq(mask) {
		i := slices.IndexFunc(of, func(p meaning.Permission) bool { return p.Word == word })
		if i < 0 {
			return 0, fmt.Errorf("no kernel writes the permission %s for an access of this kind", oneline.Quote(word))
		}
		all |= of[i].Bits
	}
	return all, nil
}

// masks returns the permissions of the record's masks. Without one, they are usual.
func (r *Record) masks(of []meaning.Permission, usual uint32) (want, denied uint32, err error) {
	requested, refused := r.Masks()
	if want, err = bits(requested, of); err != nil {
		return 0, 0, err
	}
	if denied, err = bits(refused, of); err != nil {
		return 0, 0, err
	}
	if want |= denied; want == 0 {
		want = usual
	}
	if want == 0 {
		return 0, 0, fmt.Errorf("the record does not say which permission was asked for")
	}
	return want, denied, nil
}

func askedCapability(r *Record) (Asked, error) {
	if n, ok := r.Number("capability"); ok && n >= 0 && n < 64 {
		return one(meaning.CapabilityAccess(n)), nil
	}
	name := cmp.Or(r.Get("capname"), r.Get("name"))
	if i := slices.Index(kernelname.Capabilities, name); i >= 0 {
		return one(meaning.CapabilityAccess(i)), nil
	}
	return Asked{}, fmt.Errorf("the record does not say which capability was used")
}

func askedPtrace(r *Record) (Asked, error) {
	want, denied, err := r.masks(meaning.PtracePermissions, meaning.MayWrite)
	if err != nil {
		return Asked{}, err
	}
	peer := r.Get("peer")
	if peer == "" {
		return Asked{}, fmt.Errorf("the record does not say which process was to be traced")
	}
	return Asked{Accesses: []meaning.Access{meaning.PtraceAccess{Want: want, Peer: peer}}, Denied: denied}, nil
}

func askedSignal(r *Record) (Asked, error) {
	want, denied, err := r.masks(meaning.SignalPermissions, 0)
	if err != nil {
		return Asked{}, err
	}
	asked := Asked{Denied: denied}
	name := r.Get("signal")
	signal, ok := meaning.ParseSignal(name)
	if !ok && strings.HasPrefix(name, "unknown(") {
		ok, asked.Open = true, "AppArmor has no name for the signal, so that only a rule about all signals is about it"
	}
	peer := r.Get("peer")
	if !ok || peer == "" {
		return Asked{}, fmt.Errorf("the record does not say which signal was sent, or to whom")
	}
	asked.Accesses = []meaning.Access{meaning.SignalAccess{Want: want, Signal: signal, Peer: peer}}
	return asked, nil
}

func askedUserns(r *Record) (Asked, error) {
	if op := r.Get("operation"); op != "userns_create" {
		return notUnderstood(r)
	}
	return one(meaning.UsernsAccess{}), nil
}

func askedIOUring(r *Record) (Asked, error) {
	switch r.Get("operation") {
	case "uring_sqpoll":
		return one(meaning.IOUringAccess{}), nil
	case "uring_override":
		if label := r.Get("tcontext"); label != "" {
			return one(meaning.IOUringAccess{Override: true, Label: label}), nil
		}
		return Asked{}, fmt.Errorf("the record does not say with whose credentials the io_uring was to run")
	}
	return notUnderstood(r)
}

func askedLimit(r *Record) (Asked, error) {
	resource, known := kernelname.Resources.Number(r.Get("rlimit"))
	value, ok := r.Field("value")
	hard, fits := unsigned(value)
	if !known || !ok || !fits {
		return Asked{}, fmt.Errorf("the record does not say which limit was to be set, or to what")
	}
	if peer := r.Get("peer"); peer != "" {
		if name, _ := r.Profile(); peer != name {
			return Asked{}, because(NotUnderstood, "the limit was to be set for a process under another profile, %s, which takes the "+
				"capability sys_resource and no rule about limits", oneline.Quote(peer))
		}
	}
	return one(meaning.RlimitAccess{Resource: int(resource), Hard: hard}), nil
}

func askedMqueue(r *Record) (Asked, error) {
	want, denied, err := r.masks(meaning.MqueuePermissions, 0)
	if err != nil {
		return Asked{}, err
	}
	name := r.Get("name")
	if name == "" {
		return Asked{}, fmt.Errorf("the record does not name the message queue")
	}
	return Asked{Accesses: []meaning.Access{meaning.MqueueAccess{Name: name, Label: r.Get("peer"), Want: want}}, Denied: denied}, nil
}

// askedDBus reads a record of dbus-daemon or dbus-broker. Old ones name labels after profiles.
func askedDBus(r *Record) (Asked, error) {
	want, _, err := r.masks(meaning.DBusPermissions, 0)
	if err != nil {
		return Asked{}, err
	}
	a := meaning.DBusAccess{Want: want, Bus: r.Get("bus")}
	switch want {
	case meaning.DBusEavesdrop:
		return one(a), nil
	case meaning.DBusBind:
		a.Name = r.Get("name")
		return one(a), nil
	}
	a.Name, a.Path, a.Interface = r.Get("name"), r.Get("path"), r.Get("interface")
	a.Label = cmp.Or(r.Get("peer_label"), r.Get("peer_profile"))
	a.Member = cmp.Or(r.Get("member"), r.Get("method"))
	if a.Label == "" {
		a.Label = "unconfined"
		return Asked{Accesses: []meaning.Access{a}, Open: "the label of the other side is not logged; it is taken for unconfined"}, nil
	}
	return one(a), nil
}

// unsigned returns the value of a field that is a number without a sign. The kernel writes all limits as signed or unsigned
// numbers of 64 bits; RLIM_INFINITY is all bits.
func unsigned(f Field) (n uint64, ok bool) {
	if string(f.Text) == "-1" {
		return ^uint64(0), true
	}
	n, err := strconv.ParseUint(string(f.Text), 10, 64)
	return n, err == nil && !f.Quoted && !f.Cut
}
