package preflight

import (
	"bytes"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

var (
	// secretNames are variables whose value is a secret; what only points to one
	// (a file, an id, a lifetime) is none.
	secretNames = regexp.MustCompile(`(?i)(SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|API_?KEY|SECRET_?KEY|PRIVATE_?KEY|SIGNING_?KEY|ENCRYPTION_?KEY|JWT_KEY|_KEY)$|^(SECRET|PASSWORD|TOKEN)`)
	noSecret    = regexp.MustCompile(`(?i)(_FILE|_PATH|_DIR|_ID|_NAME|_URL|_TTL|_EXPIRE\w*|_HOURS|_MINUTES|_DAYS|PUBLIC_?KEY|_LENGTH|_ROUNDS)$`)
	signing     = regexp.MustCompile(`(?i)JWT|SECRET_?KEY|SIGNING|ENCRYPTION`)
	// others are secrets of somebody else's service, which a stack may do without.
	others      = regexp.MustCompile(`(?i)(TOKEN|API_?KEY)$|MAIL|SMTP`)
	placeholder = regexp.MustCompile(`(?i)^(change[-_ ]?(me|it|this)?.*|replace[-_ ]?(me|this)?.*|your[-_ ].*|todo.*|fixme.*|x{3,}|\*{3,}|<.*>|\[.*\]|dummy.*|placeholder.*|insert[-_ ].*|example|secret|password|passw0rd|admin|root|test|default|123456.*|qwerty.*)$|change[-_]?me|_here$|-here$`)
)

// The least lengths: what signs has to have the 256 bits that its hash has.
const (
	leastSigning  = 32
	leastPassword = 12
)

// secrets looks at values and speaks of names only.
func secrets(f *findings) {
	committed := f.committed()
	f.Each("P03.secrets", "every secret is set, long enough and no placeholder", func(svc *stack.Service) {
		for _, name := range finding.SortedKeys(svc.Environment) {
			if secretNames.MatchString(name) && !noSecret.MatchString(name) {
				f.secret(svc, name, svc.Environment[name], committed)
			}
		}
		for _, file := range svc.Files {
			if file.IsSecret() {
				f.secretFile(svc, file, committed)
			}
		}
	})
}

func (f *findings) secret(svc *stack.Service, name, value string, committed []byte) {
	f.weigh(finding.At(svc.Name, "environment."+name), name, value, "set it in env-file, for example from: openssl rand -hex 32", committed)
	if len(value) >= 8 && bytes.Contains(committed, []byte(value)) {
		f.Warn("P03.committed", finding.At(svc.Name, "environment."+name), "take it from env-file: ${"+name+":?} in the Compose file, and change the secret: the history keeps it",
			"the value of %s is written in the Compose file, for everybody who can read the repository", name)
	}
}

// empty tells of a secret that is. What signs never may be; a stack may do without one of
// somebody else's service, and without one to which its file itself gives nothing.
func (f *findings) empty(p finding.Place, name, mend string, committed []byte) {
	switch {
	case signing.MatchString(name):
		f.Fail("P03.secrets", p, mend, "%s is empty", name)
	case nothingByDefault(name, committed):
		f.Warn("P03.secrets", p, "leave it so where nothing uses it; else "+mend, "%s is empty, as the Compose file lets it be", name)
	case others.MatchString(name):
		f.Warn("P03.secrets", p, "leave it so where that service is not used, or asks for none; else "+mend, "%s is empty", name)
	default:
		f.Fail("P03.secrets", p, mend, "%s is empty", name)
	}
}

// nothingByDefault tells whether the Compose file gives a variable nothing where nobody sets
// it, as in `NAME: ${NAME:-}`.
func nothingByDefault(name string, committed []byte) bool {
	pattern := `\b` + regexp.QuoteMeta(name) + `["']?\s*[:=]\s*["']?\$\{\w+:?-\}`
	return regexp.MustCompile(pattern).Match(committed)
}

func (f *findings) secretFile(svc *stack.Service, file stack.File, committed []byte) {
	if len(file.Entries) != 1 {
		return
	}
	content, err := finding.Content(file.Entries[0])
	if err != nil {
		return
	}
	name := path.Base(file.Target)
	text, place := strings.TrimSpace(string(content)), finding.In(svc.Name, file.Source, 0)
	const mend = "write it there before the release, for example from: openssl rand -hex 32"
	if text != "" && document(text) {
		return // settings, of which no word has to be the secret
	}
	f.weigh(place, "secret "+name, text, mend, nil)
}

// document tells whether a secret's file is more than one value.
func document(text string) bool {
	return strings.Contains(text, "\n") || strings.HasPrefix(text, "<?xml") || strings.ContainsAny(text[:1], "[{") && json.Valid([]byte(text))
}

// weigh tells what a secret's value lacks, without the value.
func (f *findings) weigh(p finding.Place, name, value, mend string, committed []byte) {
	switch {
	case strings.TrimSpace(value) == "":
		f.empty(p, name, mend, committed)
	case placeholder.MatchString(value):
		f.Fail("P03.secrets", p, mend, "%s is still a placeholder", name)
	case signing.MatchString(name) && len(value) < leastSigning:
		f.Warn("P03.secrets", p, mend, "%s has %d characters, fewer than the %d that a signing key needs", name, len(value), leastSigning)
	case len(value) < leastPassword:
		f.Warn("P03.secrets", p, mend, "%s has %d characters, fewer than %d", name, len(value), leastPassword)
	}
}

// committed is the text of the Compose files.
func (f *findings) committed() []byte {
	var all []byte
	for _, name := range f.Stack.ComposeFiles() {
		content, err := os.ReadFile(filepath.Join(f.Options.Workspace, name))
		if err == nil {
			all = append(all, content...)
		}
	}
	return all
}
