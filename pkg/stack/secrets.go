package stack

import (
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"
)

var (
	secretName = regexp.MustCompile(`(?i)SECRET|PASS|TOKEN|KEY|CREDENTIAL|PRIVATE|AUTH|DSN|SALT|SIGNING|(_PW|PWD)(_|[0-9]|$)|CONN(ECTION)?_?STR(INGS?)?(_|[0-9]|$)`)
	// folder is a variable in which a shell, or somebody who starts from one, keeps a folder.
	folder = regexp.MustCompile(`^[^=]*(?i:PWD)=/[a-z]+(/[^/]|$)|^(export\s+)?(OLD)?PWD=`)
	// webhook is an address that lets everybody in who knows its path. One without a path
	// is only where somebody is reached.
	webhook    = regexp.MustCompile(`(?i)^[^=]*WEBHOOK[^=]*=\w+://[^/]+/.`)
	userInfo   = regexp.MustCompile(`://[^/@\s:]*:([^/@\s]+)@`)
	longRandom = regexp.MustCompile(`^[A-Za-z0-9+/_=-]{20,}$`)
	// aboutSecret is what a secret is called by, kept in or good for.
	aboutSecret = regexp.MustCompile(`(?i)_(METHOD|MODE|TTL|TIMEOUT|EXPIRY|FILE|PATH|NAME|USER)$`)
	// secretItself is the name of one, which may be a number too.
	secretItself = regexp.MustCompile(`(?i)(PASS|PASSWORD|PASSWD|_PW|PWD|SECRET|TOKEN)$`)
)

// named tells whether a variable is a secret by its name, and not a setting.
func named(name, value string) bool {
	known := secretName.MatchString(name) && !folder.MatchString(name+"="+value) || webhook.MatchString(name+"="+value)
	return known && !aboutSecret.MatchString(name) && !isWord(name, value)
}

// SecretsIn gives what of a variable's value must not be shown: all of it where the
// name says so or it is long and random, passwords in addresses.
func SecretsIn(name, value string) []string {
	secrets := passwordsIn(value)
	random := longRandom.MatchString(value) && strings.ContainsAny(value, "0123456789")
	if named(name, value) || random {
		secrets = append(secrets, value)
	}
	return secrets
}

// passwordsIn gives the passwords of the addresses in a text, each as it stands there
// and as the server is told it.
func passwordsIn(text string) (secrets []string) {
	for _, m := range userInfo.FindAllStringSubmatch(text, -1) {
		secrets = append(secrets, m[1])
		if plain, err := url.PathUnescape(m[1]); err == nil && plain != m[1] {
			secrets = append(secrets, plain)
		}
	}
	return secrets
}

// isWord tells values like true, 604800 or none, which are settings.
func isWord(name, value string) bool {
	if strings.Trim(value, "0123456789") == "" {
		return len(value) < MinSecret || len(value) < 8 && !secretItself.MatchString(name)
	}
	return strings.EqualFold(value, "true") ||
		strings.EqualFold(value, "false") || strings.EqualFold(value, "none")
}

// shortest is the length from which a secret is hidden wherever it stands: shorter
// ones are part of every other word.
const shortest = 4

// Secrets are the values of the stack that nothing may show: what SecretsIn says of
// variables of the file and of services, passwords in configs, contents of secrets.
// Other values are words like "info" or "production", without which nobody could read
// a report; what a report has to name, like the version, is no secret either.
func (s *Stack) Secrets() []string {
	var secrets []string
	for _, service := range s.Services {
		secrets = append(secrets, service.FileSecrets...)
		for name, value := range service.Environment {
			secrets = append(secrets, passwordsIn(value)...)
			if named(name, value) && len(value) >= MinSecret {
				secrets = append(secrets, value)
			}
		}
	}
	if s.Project != nil {
		secrets = append(secrets, s.secretsOfModel()...)
	}
	return slices.DeleteFunc(secrets, func(v string) bool { return len(v) < shortest || v == s.Name || s.Services[v] != nil })
}

// secretsOfModel are the secrets of what services are made of.
func (s *Stack) secretsOfModel() (secrets []string) {
	for name, value := range s.Project.Environment {
		if named(name, value) || !s.shows(value) {
			secrets = append(secrets, SecretsIn(name, value)...)
		}
	}
	for name, config := range s.Project.Configs {
		// A whole file is not hidden: each of its lines would be, wherever it stands.
		if text := strings.TrimSpace(config.Content); !strings.Contains(text, "\n") && !s.shows(text) {
			secrets = append(secrets, SecretsIn(name, text)...)
		}
		secrets = append(secrets, passwordsIn(config.Content)...)
	}
	for _, secret := range s.Project.Secrets {
		secrets = append(secrets, secret.Content, s.Project.Environment[secret.Environment])
	}
	return secrets
}

// longest is how many bytes of a file's one line are taken for a secret that a log
// could repeat.
const longest = 4096

// SecretsInFile gives what of a secret's file must not be shown: a line alone, of
// several only the passwords of addresses. Each line of a key, hidden wherever it
// stands, would take words out of everything.
func SecretsInFile(content string) []string {
	text := strings.TrimSpace(content)
	if text == "" || len(text) > longest || strings.Contains(text, "\n") {
		return passwordsIn(text)
	}
	return append(passwordsIn(text), text)
}

// shows tells whether a value is part of what every report of a release names: its
// version and its images.
func (s *Stack) shows(value string) bool {
	if value == s.Project.Environment["VERSION"] {
		return true
	}
	for _, service := range s.Services {
		if strings.Contains(service.Image, value) {
			return true
		}
	}
	return false
}

// Hide takes the stack's secrets out of what its containers print, and all other
// values of the file's variables and of configs with them: nobody knows what they
// print.
func (s *Stack) Hide(text string) string {
	return hide(text, append(lines(s.Secrets()), secretValues(s)...))
}

// HideSecrets takes out secrets only, also those that it follows: of a log in which
// somebody looks for why a unit failed, the other values are what it is about.
func (s *Stack) HideSecrets(text string) string {
	return hide(text, lines(slices.Concat(s.Secrets(), s.others)))
}

// Follows has HideSecrets take out secrets of other stacks, too: of those whose units this
// one takes the place of, which print what they were made with until they end.
func (s *Stack) Follows(secrets []string) { s.others = secrets }

// lines adds the lines of secrets that have several, without the frame of a key: a
// program that quotes a file quotes one line of it.
func lines(secrets []string) []string {
	out := slices.Clone(secrets)
	for _, secret := range secrets {
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) >= shortest && !strings.HasPrefix(line, "-----") {
				out = append(out, line)
			}
		}
	}
	return out
}

func hide(text string, values []string) string {
	sort.SliceStable(values, func(i, j int) bool { return len(values[i]) > len(values[j]) })
	return redactor{values: values}.text(text)
}
