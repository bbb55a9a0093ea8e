package valkeylease

import "strings"

// Mutate replaces parts of a script's text, old and new by turns, until undo is
// called. It is for tests that show what each safeguard is good for, and reports
// false if a part is not there to be replaced. Not while scripts run.
func Mutate(name string, parts ...string) (undo func(), ok bool) {
	s, ok := map[string]*script{
		"acquire": acquireScript, "commit": commitScript, "renew": renewScript, "release": releaseScript,
		"set": setScript, "del": delScript, "swap": swapScript,
	}[name]
	for i := 0; ok && i < len(parts); i += 2 {
		ok = strings.Contains(s.text, parts[i])
	}
	if !ok {
		return func() {}, false
	}
	before := *s
	*s = *newScript(strings.NewReplacer(parts...).Replace(s.text))
	return func() { *s = before }, true
}
