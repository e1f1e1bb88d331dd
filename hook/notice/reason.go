package notice

// Reason says in a word why a command was refused. Logs and metrics have it, beside the message for people.
type Reason string

// The reasons. Reasons has what they mean.
const (
	NotAllowed    Reason = "not-allowed"
	UnknownPolicy Reason = "unknown-policy"
	Annotation    Reason = "annotation"
	Names         Reason = "names"
	NoPolicy      Reason = "no-policy"
	PolicyUnread  Reason = "policy-unreadable"
	Spec          Reason = "spec"
	AppArmorOff   Reason = "apparmor-off"
	NoRight       Reason = "no-right"
	NoHash        Reason = "no-hash"
	Drift         Reason = "drift"
	Load          Reason = "load"
	NotLoaded     Reason = "not-loaded"
	Removed       Reason = "removed"
	ReplacedTwice Reason = "replaced"
	Changed       Reason = "changed"
	OtherProfile  Reason = "other-profile"
	Record        Reason = "record"
	Exists        Reason = "exists"
	UnknownToShim Reason = "unknown-container"
	CommandLine   Reason = "command-line"
	Runtime       Reason = "runtime"
	Cancelled     Reason = "cancelled"
	OtherReason   Reason = "other"
)

// Means returns what a reason means, or an empty string for one that this version does not know.
func (r Reason) Means() string {
	for _, one := range Reasons {
		if one.Reason == r {
			return one.Means
		}
	}
	return ""
}

// ByNode reports whether a container is refused by a fault of the node's: others are refused as well, whoever writes them.
func (r Reason) ByNode() bool {
	switch r {
	case NoPolicy, PolicyUnread, AppArmorOff, NoRight, NoHash, Drift, Load, Runtime, OtherReason:
		return true
	}
	return false
}

// Reasons are all reasons, and what they mean. A new one is a constant and a row here, and stands in install/README.md.
var Reasons = []struct {
	Reason Reason
	Means  string
}{
	{NotAllowed, "the container asks for a policy that its rule does not allow"},
	{UnknownPolicy, "the container asks for a policy that does not exist"},
	{Annotation, "an annotation of ours is misspelt"},
	{Names, "the engine's files about the container could not be read, and a rule or an annotation depends on them"},
	{NoPolicy, "no policy was ever applied"},
	{PolicyUnread, "the applied policy is damaged, or cannot be read or trusted"},
	{Spec, "the container's config.json or the process's spec cannot be read or written"},
	{AppArmorOff, "AppArmor is off, is not mounted, or as a whole only logs"},
	{NoRight, "our program may not load profiles, or not read the policy"},
	{NoHash, "the kernel keeps no hashes of profiles"},
	{Drift, "the kernel holds other content under a profile's name, and it may not be replaced"},
	{Load, "a profile could not be loaded or checked"},
	{NotLoaded, "the engine chose a profile that is to be loaded by hand, and is not loaded"},
	{Removed, "a profile was removed from the kernel since the container was created"},
	{ReplacedTwice, "a profile of a stack was replaced since the container was created"},
	{Changed, "a profile that is no longer the policy's has other content than at the container's create"},
	{OtherProfile, "the spec that a hook sees names another profile than the policy gives"},
	{Record, "the container's record cannot be written or read"},
	{Exists, "there is a container of that id already"},
	{UnknownToShim, "the shim does not know the container"},
	{CommandLine, "the runtime's command line or options cannot be read for certain"},
	{Runtime, "the runtime was not found, or could not be executed"},
	{Cancelled, "the engine gave up the call"},
	{OtherReason, "something else: see the log"},
}
