package profiletest

// Hostile returns names that would mean something else if they stood in a rule as they are. They have no slash but where
// they have a whole path.
func Hostile() []string {
	return []string{
		"a\nb", "\n", "a\rb", "a\tb", "a b", " a", "a ", `a"b`, `"`, `"a"`, "a'b", "a*b", "**", "*", "a?b", "a[b]c", "[", "]", "[^a]", "a{b,c}d",
		"{", "}", "a,b", "a,", ",", "a, /b rw,", "r,\n  /** rw", "#", "# a", "#include <x>", "include <abstractions/base>", "@{HOME}", "@{PROC}", "@{x", "@x",
		"$x", "${x}", "^a", `\`, `\\`, `\a`, `\052`, `\x2a`, `\d042`, `a\`, `\n`, "->", "=", "a=b", "(", ")", "!a", "%s", "&", "//&a"[2:], "ü", "日本", "\x01",
		"\x7f", "\x80", "\xff\xfe", "\u202e", "a}\nprofile x { /** rwlkmix, }\nprofile y {", "-", "--", "~", "a:b", ":", "owner", "deny", "audit", "😀", "|;`",
	}
}

// Neighbours returns names that differ from another one in one byte, or in what an escape or a pattern could stand for.
func Neighbours(name string) (all []string) {
	for i := 0; i <= len(name); i++ {
		for _, c := range []string{"x", "/", "/x/y", "*", "\\", "?"} {
			all = append(all, name[:i]+c+name[i:])
			if i < len(name) {
				all = append(all, name[:i]+c+name[i+1:])
			}
		}
		if i < len(name) {
			all = append(all, name[:i]+name[i+1:])
		}
	}
	return append(all, "b", "a", "bc", "abd", "acd", "me", "/home/me", "b/c", "anything", "7", "x y")
}
